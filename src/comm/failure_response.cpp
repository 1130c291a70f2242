// SPDX-License-Identifier: Apache-2.0
#include "comm/failure_response.h"

#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/clock.h"
#include "base/error.h"
#include "comm/bounded.h"
#include "comm/crash_notice.h"
#include "comm/launcher_guard.h"
#include "comm/ring_file.h"

namespace braid {

namespace {

using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

// All bounds in seconds. Together they keep the whole end below half a minute.
constexpr int for_mpirun = 10;    // until it has ended the other ranks, once this one is gone
constexpr double settling = 0.2;  // of ranks that die together, the first to be noticed is not the only one
constexpr double for_rings = 5, for_file = 5, for_heard = 2, for_hook = 5, for_failure = 1, for_crash = 3;
constexpr double for_verdict = settling + for_rings + for_file + 2;  // rank 0's part, before it speaks
constexpr double for_launcher = for_heard + for_hook + 1;            // until rank 0's abort reaches the other ranks

void sleep_seconds(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

// One system call, so that lines of several ranks do not mix.
void print_line(const std::string& text) {
  const std::string line = text + "\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

std::string text_of(const Alarm& alarm) {
  return Json{{"waited", alarm.waited_seconds}, {"message", alarm.message}}.dump(-1, ' ', false,
                                                                                 Json::error_handler_t::replace);
}

Alarm alarm_from(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return {};
  return {json.value("waited", 0.0), json.value("message", "")};
}

bool is_lost(Contact contact) { return contact == Contact::silent || contact == Contact::closed; }

}  // namespace

FailureResponse::FailureResponse(FailureSite site) : site_(std::move(site)) {}

void FailureResponse::set_folder(const std::string& folder) {
  const std::lock_guard lock(mutex_);
  folder_ = folder;
}

void FailureResponse::on_failure(std::function<void(const std::string&)> hook) {
  const std::lock_guard lock(hook_mutex_);
  hook_ = std::move(hook);
}

std::string FailureResponse::this_rank() const { return str("rank ", site_.rank, " on ", site_.hosts[site_.rank]); }

template <class Condition>
bool FailureResponse::wait(double seconds, const Condition& condition) {
  const Stopwatch watch;
  while (!condition()) {  // the heartbeat's view changes without a notice: look again and again
    if (watch.seconds() > seconds) return false;
    std::unique_lock lock(mutex_);
    arrived_.wait_for(lock, std::chrono::milliseconds(20));
  }
  return true;
}

// Beside every such thread one that ends the process whatever happens to the first.
void FailureResponse::start(std::function<void()> act) {
  const double bound = for_verdict + for_file + for_launcher + 2 * abort_seconds_;
  shielded_thread([bound] {
    sleep_seconds(bound);
    _exit(exit_failed);
  }).detach();
  shielded_thread(std::move(act)).detach();
}

void FailureResponse::end(double patience, int code) const {
  if (crash_signal() != 0) {  // it dies of that, with what debuggers and launchers make of it
    let_crash_go();
    sleep_seconds(for_crash);
  }
  if (site_.abort_job) {
    bound_launcher(static_cast<int>(patience + abort_seconds_) + for_mpirun);
    sleep_seconds(patience);
    within(abort_seconds_, [abort = site_.abort_job, code] {
      abort(code);
      for (;;) sleep_seconds(1);  // until the launcher ends this process
      return true;
    });
  }
  _exit(code);
}

void FailureResponse::raise(const Alarm& alarm) {
  if (claim()) start([this, alarm] { respond(alarm); });
}

void FailureResponse::respond(const Alarm& alarm) {
  sleep_seconds(settling);
  if (site_.rank == 0)
    respond_for_all(alarm);
  else if (!root_answers() || !obey_root(alarm))
    respond_alone(alarm);
}

void FailureResponse::received(int rank, const Frame& frame) {
  switch (frame.kind) {
    case FrameKind::ask_ring:
      return heartbeat_->send(rank, FrameKind::ring, ring_text(site_.recorder->snapshot()));
    case FrameKind::alarm:
      return raise(alarm_from(frame.text));
    case FrameKind::failing:
      if (claim())
        start([this, text = frame.text] { end_for_other(text); });
      else
        heartbeat_->send(rank, FrameKind::ending, frame.text);
      return;
    case FrameKind::ending:
      heartbeat_->send(rank, FrameKind::heard);
      if (claim()) start([this, text = frame.text] { end_for_other(text); });
      break;
    case FrameKind::verdict:
      if (claim()) start([this, text = frame.text] { obey(text); });
      break;
    default:
      break;
  }
  const std::lock_guard lock(mutex_);
  if (frame.kind == FrameKind::ring) rings_[rank] = frame.text;
  if (frame.kind == FrameKind::heard) heard_.insert(rank);
  if (frame.kind == FrameKind::verdict) verdict_ = frame.text;
  if (frame.kind == FrameKind::ending) ending_ = true;
  arrived_.notify_all();
}

bool FailureResponse::root_answers() const {
  const auto peers = heartbeat_->contacts();
  return !peers.empty() && peers.front().contact == Contact::answers;
}

std::vector<int> FailureResponse::answering() const {
  std::vector<int> ranks;
  for (const PeerContact& peer : heartbeat_->contacts()) {
    if (peer.contact == Contact::answers) ranks.push_back(peer.rank);
  }
  return ranks;
}

RankReport FailureResponse::own_report() const {
  return {site_.rank, site_.hosts[site_.rank], getpid(), Contact::answers, 0, "", site_.recorder->snapshot()};
}

RankReport FailureResponse::report_of(const PeerContact& peer) {
  RankReport report{peer.rank, site_.hosts[peer.rank], peer.process, peer.contact, peer.silent_seconds, peer.last_beat,
                    {}};
  const std::lock_guard lock(mutex_);
  if (const auto ring = rings_.find(peer.rank); ring != rings_.end())
    report.ring = ring_from_text(ring->second);
  else if (peer.contact == Contact::answers)
    report.contact = Contact::silent;
  return report;
}

// A rank that ends while the rings are gathered is likely ended by the launcher: not the cause, and not asked any more.
std::vector<RankReport> FailureResponse::ask_all() {
  const std::vector<PeerContact> before = heartbeat_->contacts();
  for (const PeerContact& peer : before) {
    if (peer.contact == Contact::answers) heartbeat_->send(peer.rank, FrameKind::ask_ring);
  }
  wait(for_rings, [&] {
    const std::vector<int> asked = answering();
    const std::lock_guard lock(mutex_);
    return std::all_of(asked.begin(), asked.end(), [&](int rank) { return rings_.contains(rank); });
  });
  const bool lost_before =
      std::any_of(before.begin(), before.end(), [](const PeerContact& peer) { return is_lost(peer.contact); });
  std::vector<RankReport> reports(site_.hosts.size());
  for (size_t rank = 0; rank < reports.size(); ++rank)
    reports[rank] = {int(rank), site_.hosts[rank], 0, Contact::unwatched, 0, "", {}};
  const std::vector<PeerContact> after = heartbeat_->contacts();
  for (size_t i = 0; i < after.size(); ++i) {
    RankReport report = report_of(after[i]);
    if (lost_before && after[i].contact == Contact::closed && before[i].contact != Contact::closed)
      report.contact = Contact::unwatched;
    reports[after[i].rank] = std::move(report);
  }
  reports[site_.rank] = own_report();
  return reports;
}

// The line for the consoles; the file has it too.
std::string FailureResponse::conclude(const std::vector<RankReport>& reports, const Alarm& alarm,
                                      const std::string& file) {
  const std::string found = find_blame(reports, alarm.waited_seconds).text;
  const std::string text = "watchdog: " + alarm.message + (alarm.message.empty() || found.empty() ? "" : "; ") + found;
  std::string folder;
  {
    const std::lock_guard lock(mutex_);
    folder = folder_;
  }
  const std::string path = write_ring_file(folder, file, report_document(reports, text), for_file);
  return path.empty() ? text : text + "; see " + path;
}

void FailureResponse::run_hook(const std::string& line) {
  within(for_hook, [this, line] {
    const std::lock_guard lock(hook_mutex_);
    if (hook_) hook_(line);
    return true;
  });
}

void FailureResponse::respond_for_all(const Alarm& alarm) {
  const std::string line = conclude(ask_all(), alarm, "collectives-" + utc_for_file_name() + ".json");
  heartbeat_->send_all(FrameKind::verdict, line);
  print_line(from_here(line));
  wait(for_heard, [&] {
    const std::vector<int> told = answering();
    const std::lock_guard lock(mutex_);
    return std::all_of(told.begin(), told.end(),
                       [&](int rank) { return heard_.contains(rank) || !rings_.contains(rank); });
  });
  run_hook(from_here(line));
  end(0, exit_failed);
}

void FailureResponse::respond_alone(const Alarm& alarm) {
  std::vector<RankReport> reports = {own_report()};
  for (const PeerContact& root : heartbeat_->contacts()) reports.insert(reports.begin(), report_of(root));
  const std::string file = str("collectives-rank-", site_.rank, "-", utc_for_file_name(), ".json");
  print_line(from_here(conclude(reports, alarm, file)));
  end(settling, exit_failed);
}

// False when rank 0 does not say in time what to do.
bool FailureResponse::obey_root(const Alarm& alarm) {
  heartbeat_->send(0, FrameKind::alarm, text_of(alarm));
  wait(for_verdict, [&] {
    const bool answers = root_answers();
    const std::lock_guard lock(mutex_);
    return verdict_ || !answers;
  });
  std::optional<std::string> line;
  {
    const std::lock_guard lock(mutex_);
    line = verdict_;
  }
  if (line) obey(*line);
  return line.has_value();
}

void FailureResponse::obey(const std::string& line) {
  print_line(from_here(line));
  heartbeat_->send(0, FrameKind::heard);
  end(for_launcher, exit_failed);
}

void FailureResponse::tell_of_failure(const std::string& message, int code) {
  print_line(from_here(message));
  const std::string text = str(code, " ", site_.rank, " ", message);
  if (site_.rank == 0)
    heartbeat_->send_all(FrameKind::ending, text);
  else
    heartbeat_->send(0, FrameKind::failing, text);
  wait(for_failure, [&] {
    const std::vector<int> told = answering();
    const std::lock_guard lock(mutex_);
    if (site_.rank > 0) return ending_ || told.empty();
    return std::all_of(told.begin(), told.end(), [&](int rank) { return heard_.contains(rank); });
  });
}

// The failed rank has printed its message and, where there is a launcher, makes it end all ranks.
void FailureResponse::end_for_other(const std::string& failure) {
  std::istringstream in(failure);
  int code = exit_failed, rank = 0;
  std::string message;
  in >> code >> rank;
  std::getline(in >> std::ws, message);
  if (site_.rank == 0) {
    heartbeat_->send_all(FrameKind::ending, failure);
    wait(for_failure, [&] {
      const std::vector<int> told = answering();
      const std::lock_guard lock(mutex_);
      return std::all_of(told.begin(), told.end(), [&](int r) { return heard_.contains(r); });
    });
  }
  if (!site_.abort_job)
    print_line(from_here(str("ends because rank ", rank, " on ", site_.hosts[rank], " failed: ", message)));
  else
    sleep_seconds(settling);
  end(for_launcher, code);
}

}  // namespace braid
