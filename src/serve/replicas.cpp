// SPDX-License-Identifier: Apache-2.0
#include "serve/replicas.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/until_it_fits.h"

namespace braid {

namespace {

using nlohmann::json;

constexpr double soon_seconds = 0.1, later_seconds = 1;  // between checks: until it is up; once it is
constexpr double answer_seconds = 10;                    // for a check
constexpr double silent_seconds = 30;                    // without an answer
constexpr int64_t most_misses = 2;                       // before it is not up

// A reply as one.
struct Whole {
  HttpReply reply;
  std::function<void(const HttpReply& reply, const std::string& problem)> done;
};

UpstreamHandlers gathering(std::function<void(const HttpReply& reply, const std::string& problem)> done) {
  const auto whole = std::make_shared<Whole>(Whole{{0, "", "", {}}, std::move(done)});
  return {[whole](const HttpReply& head) { whole->reply = head; },
          [whole](const std::string& piece) { whole->reply.body += piece; },
          [whole](const std::string& problem) { whole->done(whole->reply, problem); }};
}

int64_t whole_number(const json& object, const char* field) {
  const auto found = object.is_object() ? object.find(field) : object.end();
  return found != object.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}

}  // namespace

Replicas::Replicas(boost::asio::io_context& loop, const std::vector<std::string>& names, std::string key,
                   ReplicaEvents events)
    : loop_(loop), key_(std::move(key)), events_(std::move(events)), checks_(names.size()) {
  for (const std::string& name : names) all_.emplace_back().name = name;
  for (Check& check : checks_) check.timer = std::make_unique<boost::asio::steady_timer>(loop);
}

Replicas::~Replicas() = default;

void Replicas::stop() {
  stopped_ = true;
  for (Check& check : checks_) {
    check.timer->cancel();
    if (check.asking) check.asking->close();
  }
}

HttpHeaders Replicas::headers(const std::string& request_id) const {
  HttpHeaders headers = {{"User-Agent", "braid"}, {"X-Request-Id", request_id}};
  if (!key_.empty()) headers.emplace_back("Authorization", "Bearer " + key_);
  return headers;
}

void Replicas::place(size_t replica, const UpstreamAddress& address) {
  if (stopped_) return;
  forget(replica);
  all_[replica].address = address;
  check(replica);
}

void Replicas::forget(size_t replica) {
  Replica& one = all_[replica];
  Check& check = checks_[replica];
  one.up = false;
  one.address = {};
  one.memory_bytes = 0;
  check.timer->cancel();
  if (check.asking) check.asking->close();
  check.asking = nullptr;
  check.silent = Stopwatch();
  check.misses = 0;
  ++check.placed;
}

void Replicas::suspect(size_t replica) {
  if (!all_[replica].up || checks_[replica].asking) return;
  checks_[replica].timer->cancel();
  check(replica);
}

void Replicas::check_after(size_t replica, double seconds) {
  boost::asio::steady_timer& timer = *checks_[replica].timer;
  until_it_fits([&] {
    timer.expires_after(std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000)));
    timer.async_wait([this, replica, placed = checks_[replica].placed](const boost::system::error_code& error) {
      if (!error && !stopped_ && placed == checks_[replica].placed) check(replica);
    });
  });
}

void Replicas::check(size_t replica) {
  const auto done = [this, replica, placed = checks_[replica].placed](const HttpReply& reply,
                                                                      const std::string& problem) {
    if (stopped_ || placed != checks_[replica].placed) return;
    checks_[replica].asking = nullptr;
    try {
      checked(replica, reply, problem);
    } catch (const std::bad_alloc&) {
      check_after(replica, soon_seconds);
    }
  };
  until_it_fits([&] {
    checks_[replica].asking = ask_upstream(loop_, all_[replica].address, {"GET", "/health", headers("health"), ""},
                                           gathering(done), answer_seconds);
  });
}

void Replicas::checked(size_t replica, const HttpReply& reply, const std::string& problem) {
  Replica& one = all_[replica];
  Check& check = checks_[replica];
  const json body = json::parse(reply.body, nullptr, false);
  const bool answered = problem.empty() && body.is_object() && body.contains("status");  // else there was trouble on the way
  const bool well = answered && reply.status == 200;
  check.misses = answered ? 0 : check.misses + 1;
  const bool silent = !problem.empty() && check.silent.seconds() > silent_seconds;
  if (problem.empty() || silent) check.silent = Stopwatch();
  check_after(replica, well ? later_seconds : soon_seconds);
  if (well) one.memory_bytes = whole_number(body, "vram_bytes");
  const bool was_up = one.up;
  if (answered || check.misses >= most_misses) one.up = well && one.context > 0;
  if (well && one.context == 0) ask_context(replica);
  if (one.up && !was_up) events_.up(replica);
  if (silent) events_.silent(replica);
}

// Once: what a request may need is reckoned with it.
void Replicas::ask_context(size_t replica) {
  const auto done = [this, replica, placed = checks_[replica].placed](const HttpReply& reply,
                                                                      const std::string& problem) {
    if (stopped_ || placed != checks_[replica].placed || !problem.empty()) return;
    const json body = json::parse(reply.body, nullptr, false);
    const auto models = body.is_object() ? body.find("data") : body.end();
    if (models == body.end() || !models->is_array() || models->empty()) return;
    Replica& one = all_[replica];
    one.context = whole_number(models->front(), "max_model_len");
    if (one.context == 0 || one.up) return;
    one.up = true;
    events_.up(replica);
  };
  ask_upstream(loop_, all_[replica].address, {"GET", "/v1/models", headers("models"), ""}, gathering(done),
               answer_seconds);
}

Replica* Replicas::least_loaded(const std::vector<size_t>& without) {
  Replica* best = nullptr;
  for (Replica& one : all_) {
    if (!one.up || std::find(without.begin(), without.end(), index_of(one)) != without.end()) continue;
    const auto load = [](const Replica& replica) { return std::pair(replica.outstanding_tokens, replica.requests); };
    if (!best || load(one) < load(*best)) best = &one;
  }
  return best;
}

int64_t Replicas::up() const {
  return std::count_if(all_.begin(), all_.end(), [](const Replica& one) { return one.up; });
}

}  // namespace braid
