// SPDX-License-Identifier: Apache-2.0
// One request on its way through the service: its reply, its line in the log, its place in the counts. On the server's
// thread alone.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "base/clock.h"
#include "serve/access_log.h"
#include "serve/exchange.h"
#include "serve/metrics.h"

namespace braid {

class Call : public std::enable_shared_from_this<Call> {
 public:
  // `route` is what the counts call its path. metrics and log must outlive it.
  Call(std::shared_ptr<Exchange> exchange, AccessRecord record, std::string route, Metrics& metrics,
       const AccessLog& log);
  void begin();  // notices from here on that the client goes

  const std::string& id() const { return record.request_id; }
  double seconds() const { return watch_.seconds(); }  // since the request came
  bool gone() const { return gone_; }

  void reply(HttpReply reply);
  void begin_events();                              // a stream of server-sent events
  void event(const nlohmann::ordered_json& value);  // "data: {…}"
  void raw_event(const std::string& text);          // "data: …"
  void end_events();
  // Once, if the client goes before the reply has ended; whoever asks for it calls finish() some time later.
  void on_gone(std::function<void()> act) { on_gone_ = std::move(act); }
  void finish();  // writes the log's line; later calls do nothing

  AccessRecord record;

 private:
  void begin_reply(HttpReply& head);

  std::shared_ptr<Exchange> exchange_;
  std::string route_;
  Metrics& metrics_;
  const AccessLog& log_;
  Stopwatch watch_;
  std::function<void()> on_gone_;
  bool gone_ = false, finished_ = false;
};

}  // namespace braid
