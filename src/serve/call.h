// SPDX-License-Identifier: Apache-2.0
// One request on its way through the service: its reply, its line in the log, its place in the counts. On the server's
// thread alone.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "base/clock.h"
#include "serve/access_log.h"
#include "serve/exchange.h"
#include "serve/refusal.h"
#include "serve/reply_counts.h"

namespace braid {

class Call : public std::enable_shared_from_this<Call> {
 public:
  // `route` is what the counts call its path. counts must outlive it.
  Call(std::shared_ptr<Exchange> exchange, AccessRecord record, std::string route, ReplyCounts& counts, AccessLog log);
  void begin();  // notices from here on that the client goes

  const std::string& id() const { return record.request_id; }
  double seconds() const { return watch_.seconds(); }  // since the request came
  bool gone() const { return gone_; }

  void reply(HttpReply reply);
  void begin_events();                              // a stream of server-sent events
  void event(const nlohmann::ordered_json& value);  // "data: {…}"
  void raw_event(const std::string& text);          // "data: …"
  void passed_events(std::string text);             // as another server has put them
  void end_events();
  // Once, if the client goes before the reply has ended; whoever asks for it calls finish() some time later.
  void on_gone(std::function<void()> act) { on_gone_ = std::move(act); }
  void finish();  // writes the log's line; later calls do nothing
  void refuse(const Refusal& why);  // as clients of this path expect it
  void drop();                      // a reply that has begun and cannot go on: the connection ends

  // What `act` throws is told to the client; it may not have begun a reply then.
  template <class Act>
  void attempt(const Act& act) {
    try {
      act();
    } catch (...) {
      refuse_current_exception();
    }
  }

  AccessRecord record;

 private:
  void begin_reply(HttpReply& head);
  void refuse_current_exception();

  std::shared_ptr<Exchange> exchange_;
  std::string route_;
  ReplyCounts& counts_;
  AccessLog log_;
  Stopwatch watch_;
  std::function<void()> on_gone_;
  bool gone_ = false, finished_ = false;
};

}  // namespace braid
