// SPDX-License-Identifier: Apache-2.0
#include "comm/recorder.h"

#include <algorithm>
#include <cstdio>

#include "base/clock.h"
#include "base/error.h"

namespace braid {

namespace {

double seconds_of(CollectiveRecorder::Clock::time_point time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

// A finished call hands out its error without waiting.
CallState outcome(const Work& work) {
  try {
    if (!work.done()) return CallState::waiting;
    work.synchronize();
    return CallState::done;
  } catch (const std::exception&) {
    return CallState::failed;
  }
}

std::string size_text(size_t bytes) {
  if (bytes < 1024) return str(bytes, " B");
  const char* units[] = {"KiB", "MiB", "GiB"};
  double size = static_cast<double>(bytes) / 1024;
  int unit = 0;
  for (; size >= 1024 && unit < 2; ++unit) size /= 1024;
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %s", size, units[unit]);
  return text;
}

constexpr size_t asked_at_each_call = 2;  // more than come in, so that the unfinished do not pile up between two polls

}  // namespace

const char* name_of(CallState state) {
  return state == CallState::waiting ? "waiting" : state == CallState::done ? "done" : "failed";
}

std::string describe_call(const CollectiveRecord& record) {
  std::string text = record.operation;
  if (record.count > 0) text += str(" of ", size_text(record.bytes()), " ", name_of(record.dtype));
  if (record.peer >= 0) text += str(record.operation == "send" ? " to" : " from", " rank ", record.peer);
  return text;
}

std::string describe(const CollectiveRecord& record) {
  const std::string text = describe_call(record) + " on " + record.communicator;
  return record.message ? text : str(text, ", sequence ", record.sequence);
}

CollectiveRecorder::CollectiveRecorder(size_t entries)
    : ring_(entries), clock_offset_(unix_seconds() - seconds_of(Clock::now())) {}

CollectiveRecorder::Channel CollectiveRecorder::open(const std::string& name, int size, bool patient) {
  const std::lock_guard lock(mutex_);
  const int times = ++used_names_[name];
  channels_.push_back({times == 1 ? name : str(name, "#", times), size, patient, 0});
  open_.push_back(true);
  return static_cast<Channel>(channels_.size()) - 1;
}

void CollectiveRecorder::close(Channel channel) {
  const std::lock_guard lock(mutex_);
  open_[channel] = false;
  std::erase_if(unfinished_, [&](Ticket ticket) { return slot(ticket).channel == channel; });
}

std::string CollectiveRecorder::name(Channel channel) const {
  const std::lock_guard lock(mutex_);
  return channels_[channel].name;
}

CollectiveRecorder::Ticket CollectiveRecorder::begin(Channel channel, const Call& call) {
  std::optional<Work> overwritten;  // released after the lock is
  const auto now = Clock::now();
  const std::lock_guard lock(mutex_);
  const Ticket ticket = next_++;
  Entry& entry = slot(ticket);
  if (entry.ticket != 0 && entry.state == CallState::waiting) std::erase(unfinished_, entry.ticket);
  overwritten.swap(entry.work);
  int64_t& sequence = channels_[channel].sequence;
  if (!call.message) ++sequence;
  bytes_ += static_cast<int64_t>(call.count * size_of(call.dtype));
  entry = {ticket, channel, sequence, call, now, {}, CallState::waiting, {}};
  unfinished_.push_back(ticket);
  return ticket;
}

void CollectiveRecorder::attach(Ticket ticket, const Work& work) {
  if (work.empty()) return finish(ticket, CallState::done);
  std::vector<Asked> asked;
  {
    const std::lock_guard lock(mutex_);
    if (slot(ticket).ticket == ticket) slot(ticket).work = work;
    asked = unfinished(asked_at_each_call);
  }
  settle(asked);
}

void CollectiveRecorder::finish(Ticket ticket, CallState state) {
  const std::lock_guard lock(mutex_);
  end_entry(ticket, state, Clock::now());
}

void CollectiveRecorder::end_entry(Ticket ticket, CallState state, Clock::time_point now) {
  std::erase(unfinished_, ticket);
  Entry& entry = slot(ticket);
  any_failed_ = any_failed_ || state == CallState::failed;
  if (entry.ticket != ticket) return;
  entry.state = state;
  entry.end = now;
  entry.work.reset();
}

// Whoever asks holds the works, so that none is destroyed under the lock.
void CollectiveRecorder::settle(const std::vector<Asked>& asked) {
  for (const auto& [ticket, work] : asked) {
    const CallState state = outcome(work);
    if (state != CallState::waiting) finish(ticket, state);
  }
}

std::vector<CollectiveRecorder::Asked> CollectiveRecorder::unfinished(size_t most) const {
  std::vector<Asked> found;
  found.reserve(std::min(most, unfinished_.size()));
  for (const Ticket ticket : unfinished_) {
    if (found.size() >= most) break;
    if (slot(ticket).work) found.emplace_back(ticket, *slot(ticket).work);
  }
  return found;
}

void CollectiveRecorder::poll() {
  std::vector<Asked> asked;
  {
    const std::lock_guard lock(mutex_);
    asked = unfinished(unfinished_.size());
  }
  settle(asked);
}

double CollectiveRecorder::unix_time(Clock::time_point time) const { return seconds_of(time) + clock_offset_; }

CollectiveRecord CollectiveRecorder::record_of(const Entry& entry) const {
  const Call& call = entry.call;
  const double end = entry.state == CallState::waiting ? 0 : unix_time(entry.end);
  return {channels_[entry.channel].name,
          entry.sequence,
          call.operation,
          call.count,
          call.dtype,
          call.peer,
          call.message,
          unix_time(entry.start),
          end,
          entry.state};
}

RingSnapshot CollectiveRecorder::snapshot() const {
  const std::lock_guard lock(mutex_);
  RingSnapshot snapshot;
  for (size_t i = 0; i < channels_.size(); ++i) {
    if (open_[i]) snapshot.communicators.push_back(channels_[i]);
  }
  const Ticket first = next_ > ring_.size() ? next_ - ring_.size() : 1;
  for (Ticket ticket = first; ticket < next_; ++ticket) snapshot.entries.push_back(record_of(slot(ticket)));
  return snapshot;
}

std::optional<CollectiveRecord> CollectiveRecorder::last() const {
  const std::lock_guard lock(mutex_);
  if (next_ == 1) return std::nullopt;
  return record_of(slot(next_ - 1));
}

std::optional<CollectiveRecorder::Waiting> CollectiveRecorder::oldest_waiting() const {
  const std::lock_guard lock(mutex_);
  for (const Ticket ticket : unfinished_) {
    const Entry& entry = slot(ticket);
    if (!channels_[entry.channel].patient) return Waiting{record_of(entry), entry.start};
  }
  return std::nullopt;
}

int64_t CollectiveRecorder::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

bool CollectiveRecorder::any_failed() const {
  const std::lock_guard lock(mutex_);
  return any_failed_;
}

}  // namespace braid
