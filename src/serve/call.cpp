// SPDX-License-Identifier: Apache-2.0
#include "serve/call.h"

#include <nlohmann/json.hpp>

#include "base/until_it_fits.h"
#include "serve/worker_request.h"

namespace braid {

namespace {

constexpr int client_closed = 499;  // as nginx logs it

}  // namespace

Call::Call(std::shared_ptr<Exchange> exchange, AccessRecord first, std::string route, ReplyCounts& counts,
           AccessLog log)
    : record(std::move(first)), exchange_(std::move(exchange)), route_(std::move(route)), counts_(counts), log_(log) {}

void Call::begin() {
  exchange_->on_gone([self = shared_from_this()] {
    self->gone_ = true;
    const auto act = std::exchange(self->on_gone_, nullptr);
    act ? act() : self->finish();
  });
}

void Call::begin_reply(HttpReply& head) {
  head.headers.emplace_back("X-Request-Id", id());
  record.status = head.status;
}

void Call::reply(HttpReply reply) {
  begin_reply(reply);
  on_gone_ = nullptr;
  exchange_->reply(std::move(reply));
  finish();
}

void Call::begin_events() {
  HttpReply head{200, "", "text/event-stream; charset=utf-8", {}};
  head.headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}};
  begin_reply(head);
  exchange_->begin_stream(std::move(head));
}

void Call::event(const nlohmann::ordered_json& value) { raw_event(json_text(value)); }

void Call::raw_event(const std::string& text) { exchange_->write("data: " + text + "\n\n"); }

void Call::passed_events(std::string text) { exchange_->write(std::move(text)); }

void Call::end_events() {
  if (gone_) return;
  on_gone_ = nullptr;
  exchange_->end_stream();
  finish();
}

void Call::finish() {
  if (std::exchange(finished_, true)) return;
  if (record.status == 0) record.status = client_closed;
  record.seconds = seconds();
  until_it_fits([&] { counts_.count(route_, record.status); });
  until_it_fits([&] { log_.write(record); });
}

void Call::refuse(const Refusal& why) {
  record.message = why.what();
  reply(refused_reply(record.path, why));
}

void Call::refuse_current_exception() {
  try {
    throw;
  } catch (const Refusal& refusal) {
    refuse(refusal);
  } catch (const std::bad_alloc&) {
    refuse(out_of_memory_refusal());
  } catch (const std::exception& problem) {
    refuse({500, problem.what(), "", "failed"});
  }
}

void Call::drop() { exchange_->drop(); }

}  // namespace braid
