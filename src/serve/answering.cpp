// SPDX-License-Identifier: Apache-2.0
#include "serve/answering.h"

#include <algorithm>

#include "base/error.h"
#include "base/until_it_fits.h"

namespace braid {

namespace {

bool is_good(RequestOutcome outcome) { return outcome == RequestOutcome::stop || outcome == RequestOutcome::length; }

Refusal refusal_of(const RequestEnd& end, double timeout_seconds) {
  const std::string message = end.message.empty() ? "" : ": " + end.message;
  switch (end.outcome) {
    case RequestOutcome::timed_out:
      return {504, str("the answer took longer than ", timeout_seconds, " s (--timeout)"), "", "timeout"};
    case RequestOutcome::out_of_memory:
      return {503, "out of memory" + message, "", "out_of_memory"};
    case RequestOutcome::cancelled:
      return {503, "the server ended this answer because it stops", "", "cancelled"};
    default:
      return {500, "the model failed" + message, "", "failed"};
  }
}

}  // namespace

Answering::Answering(std::shared_ptr<Call> call, Generation generation, AnsweringSite site)
    : call_(std::move(call)), generation_(std::move(generation)), site_(std::move(site)) {}

void Answering::submit_all() {
  all_.reserve(generation_.requests.size());  // so that what was submitted is known
  for (GenerationRequest& request : generation_.requests) {
    const auto tell = [self = shared_from_this(), answer = all_.size()](RequestProgress progress) {
      const auto kept = until_it_fits([&] { return std::make_shared<RequestProgress>(std::move(progress)); });
      until_it_fits([&] { self->site_.post([self, answer, kept] { self->progress(answer, *kept); }); });
    };
    all_.push_back({site_.backend.submit(std::move(request), tell, site_.timeout_seconds)});
    ++left_;
  }
}

void Answering::start(std::function<void()> on_done) {
  on_done_ = std::move(on_done);
  call_->record.answers = static_cast<int64_t>(generation_.requests.size());
  try {
    submit_all();
  } catch (const QueueFull& problem) {
    site_.metrics.out_of_queue();
    return refuse({429, problem.what(), "", "queue_full"});
  } catch (const UsageError& problem) {
    return refuse({400, problem.what(), "", "invalid_value"});
  } catch (const std::bad_alloc&) {
    return refuse(out_of_memory_refusal());
  } catch (const std::exception& problem) {
    return refuse({500, problem.what(), "", "failed"});
  }
  tell([&] { begin(); });
}

void Answering::begin() {
  call_->on_gone([self = shared_from_this()] {
    self->told_ = true;
    self->cancel();
  });
  generation_.writer->begin(*call_);
}

// Those that were taken already end on their own.
void Answering::refuse(const Refusal& why) {
  call_->record.outcome = "refused";
  fail(why);
  if (left_ == 0) on_done_();
}

// A reply that has begun, and that there is no memory for telling of, ends with the connection.
void Answering::fail(const Refusal& why) {
  told_ = true;
  try {
    call_->record.message = why.what();
    generation_.writer->fail(*call_, why);
  } catch (const std::bad_alloc&) {
    call_->drop();
  }
  cancel();
}

// Where memory is short, this request fails alone.
template <class Act>
void Answering::tell(const Act& act) {
  try {
    act();
  } catch (const std::bad_alloc&) {
    fail(until_it_fits([] { return out_of_memory_refusal(); }));
  }
}

void Answering::cancel() {
  for (const One& one : all_) {
    if (!one.ended) site_.backend.cancel(one.id);
  }
}

void Answering::progress(size_t answer, const RequestProgress& progress) {
  count(all_[answer], progress);
  const bool good = !progress.end || is_good(progress.end->outcome);
  if (!told_ && good) tell([&] { generation_.writer->progress(*call_, answer, progress); });
  if (progress.end) ended(answer, *progress.end);
}

void Answering::count(One& one, const RequestProgress& progress) {
  if (progress.tokens.empty()) return;
  const double now = call_->seconds();
  auto tokens = static_cast<int64_t>(progress.tokens.size());
  if (one.last_token_seconds == 0) {
    site_.metrics.first_token(now);
    if (call_->record.first_token_seconds == 0) call_->record.first_token_seconds = now;
    one.last_token_seconds = now;
    --tokens;
  }
  site_.metrics.next_tokens(now - one.last_token_seconds, tokens);
  one.last_token_seconds = now;
}

void Answering::ended(size_t answer, const RequestEnd& end) {
  all_[answer].ended = true;
  --left_;
  site_.metrics.ended(end, call_->seconds());
  AccessRecord& record = call_->record;
  record.prompt_tokens += end.prompt_tokens;
  record.cached_tokens += end.cached_tokens;
  record.tokens += end.tokens;
  record.queue_seconds = std::max(record.queue_seconds, end.queue_seconds);
  const bool first_trouble = record.outcome.empty() || record.outcome == "stop" || record.outcome == "length";
  if (first_trouble) record.outcome = name_of(end.outcome);
  if (!told_ && !is_good(end.outcome)) tell([&] { fail(refusal_of(end, site_.timeout_seconds)); });
  if (left_ > 0) return;
  if (!std::exchange(told_, true)) tell([&] { generation_.writer->end(*call_); });
  call_->finish();
  on_done_();
}

}  // namespace braid
