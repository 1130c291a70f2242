// SPDX-License-Identifier: Apache-2.0
#include "serve/relay.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/until_it_fits.h"
#include "serve/json_word.h"
#include "serve/worker_request.h"

namespace braid {

namespace {

using nlohmann::json;

constexpr size_t most_tries = 3;  // a request that ends replicas must not end all of them
constexpr const char* event_end = "\n\n";
constexpr const char* event_begin = "data: ";

bool is_stream(const HttpReply& head) { return head.content_type.starts_with("text/event-stream"); }

// Fields of a reply that mean something to the client of a front.
HttpHeaders passed_on(const HttpHeaders& headers) {
  HttpHeaders kept;
  for (const auto& field : headers) {
    for (const char* name : {"Retry-After", "Allow"}) {
      if (field.first == name) kept.push_back(field);
    }
  }
  return kept;
}

// Whether a replica has not begun: others may have room, or live on.
bool was_not_taken(const HttpReply& reply) {
  if (reply.status != 429 && reply.status != 503) return false;
  const json body = json::parse(reply.body, nullptr, false);
  if (!body.is_object()) return false;
  const auto error = body.find("error");
  const json code = error != body.end() && error->is_object() ? error->value("code", json()) : body.value("code", json());
  return is_one_of(code, {"queue_full", "loading", "draining", "no_replica", "QUEUE_FULL", "WORKER_UNHEALTHY"});
}

Refusal nobody_there() { return {503, "no replica is ready", "", "no_replica"}; }

}  // namespace

Relay::Relay(std::shared_ptr<Call> call, UpstreamRequest request, RequestTokens tokens, Replicas& replicas)
    : call_(std::move(call)), request_(std::move(request)), tokens_(tokens), replicas_(replicas) {}

// Where memory is short, this request fails alone.
template <class Act>
void Relay::tell(const Act& act) {
  try {
    act();
  } catch (const std::bad_alloc&) {
    fail(until_it_fits([] { return out_of_memory_refusal(); }));
  }
}

void Relay::start(std::function<void()> on_done) {
  on_done_ = std::move(on_done);
  tell([&] {
    call_->on_gone([self = shared_from_this()] { self->finish(); });
    try_next();
  });
}

void Relay::try_next() {
  Replica* const replica = tried_.size() < most_tries ? replicas_.least_loaded(tried_) : nullptr;
  if (replica) return ask(*replica);
  if (reply_.status != 0 && !streaming_) return end_whole();  // what the last one said
  fail(nobody_there());
}

void Relay::ask(Replica& replica) {
  const size_t index = replicas_.index_of(replica);
  tried_.push_back(index);
  reply_ = {0, "", "", {}};
  streaming_ = false;
  skipped_ = 0;
  call_->record.replica = replica.name;
  call_->record.moves = static_cast<int64_t>(tried_.size()) - 1;
  const auto with = [weak = weak_from_this(), index](const auto& act) {
    const auto self = weak.lock();
    if (self && !self->done_ && self->upstream_ && self->tried_.back() == index) self->tell([&] { act(*self); });
  };
  UpstreamHandlers handlers{
      [with](const HttpReply& head) { with([&](Relay& self) { self.take_head(head); }); },
      [with](const std::string& piece) { with([&](Relay& self) { self.take(piece); }); },
      [with](const std::string& problem) { with([&](Relay& self) { self.end(problem); }); }};
  upstream_ = ask_upstream(replicas_.loop(), replica.address, request_, std::move(handlers));
  left_ = tokens_;
  on_account_ = true;
  replica.outstanding_tokens += left_.all();
  ++replica.running;
  ++replica.requests;
}

void Relay::take_head(const HttpReply& head) {
  reply_.status = head.status;
  reply_.content_type = head.content_type;
  reply_.headers = passed_on(head.headers);
  streaming_ = is_stream(head);
  if (!streaming_ || begun_) return;
  begun_ = true;
  call_->begin_events();
}

void Relay::take(const std::string& piece) {
  reply_.body += piece;
  if (streaming_) take_events();
}

void Relay::take_events() {
  size_t at = 0;
  for (size_t end; (end = reply_.body.find(event_end, at)) != std::string::npos; at = end + 2) {
    pass(reply_.body.substr(at, end + 2 - at));
    if (done_) return;
  }
  reply_.body.erase(0, at);
}

// The role of a chat's answer, or the worker's "started": another replica tells the same.
bool Relay::comes_before_tokens(const std::string& event) const {
  if (!event.starts_with(event_begin)) return false;
  const json body = json::parse(event.substr(std::string(event_begin).size()), nullptr, false);
  if (!body.is_object()) return false;
  if (is_word(body.value("type", json()), "started")) return true;
  const json choices = body.value("choices", json());
  if (!choices.is_array() || choices.empty() || !choices.front().is_object()) return false;
  const json delta = choices.front().value("delta", json());
  return delta.is_object() && delta.contains("role");
}

void Relay::pass(const std::string& event) {
  Replica& replica = replicas_.all()[tried_.back()];
  if (!has_token_ && comes_before_tokens(event)) {
    if (skipped_ < told_) {
      ++skipped_;
      return;
    }
    ++told_, ++skipped_;
    return call_->passed_events(event);
  }
  if (!std::exchange(has_token_, true)) {
    call_->record.first_token_seconds = call_->seconds();
    replica.outstanding_tokens -= std::exchange(left_.prompts, 0);
  }
  if (left_.answers > 0) --left_.answers, --replica.outstanding_tokens;
  call_->passed_events(event);
}

bool Relay::may_move() const { return !has_token_ && tried_.size() < most_tries; }

void Relay::end(const std::string& problem) {
  Replica& replica = replicas_.all()[tried_.back()];
  leave_replica();
  if (problem == upstream_out_of_memory) return fail(out_of_memory_refusal());
  if (!problem.empty()) {
    ++replica.lost;
    reply_.status = 0;  // what came of it is no reply
    replicas_.suspect(tried_.back());
    if (may_move()) return try_next();
    return fail({503, str("replica ", replica.name, " was lost: ", problem), "", "replica_lost"});
  }
  if (streaming_) {
    call_->end_events();
    return finish();
  }
  if (was_not_taken(reply_) && may_move()) return try_next();
  end_whole();
}

void Relay::end_whole() {
  if (begun_) {
    // Its stream had begun elsewhere.
    return fail({503, str("the request was moved, and refused with status ", reply_.status), "", "replica_lost"});
  }
  call_->reply(reply_);
  finish();
}

void Relay::lose(size_t replica) {
  if (done_ || !upstream_ || tried_.back() != replica) return;
  tell([&] { end("it does not answer"); });
}

// Its tokens are off the replica's account, and the connection ends, which frees its slot there.
void Relay::leave_replica() {
  if (const auto upstream = std::exchange(upstream_, nullptr)) upstream->close();
  if (!std::exchange(on_account_, false)) return;
  Replica& replica = replicas_.all()[tried_.back()];
  replica.outstanding_tokens -= left_.all();
  --replica.running;
}

void Relay::cancel() { fail({503, "the server ended this answer because it stops", "", "cancelled"}); }

// A stream that has begun, and that there is no memory for telling of, ends with the connection.
void Relay::fail(const Refusal& why) {
  if (done_) return;
  try {
    call_->record.message = why.what();
    if (!begun_) {
      call_->reply(refused_reply(call_->record.path, why));
    } else {
      const bool worker = call_->record.path == worker_path;
      call_->event(worker ? worker_error_event(why) : error_object(why));
      if (!worker) call_->raw_event("[DONE]");
      call_->end_events();
    }
  } catch (const std::bad_alloc&) {
    call_->drop();
  }
  finish();
}

void Relay::finish() {
  if (std::exchange(done_, true)) return;
  const auto self = shared_from_this();
  leave_replica();
  call_->finish();
  if (const auto done = std::exchange(on_done_, nullptr)) done();
}

}  // namespace braid
