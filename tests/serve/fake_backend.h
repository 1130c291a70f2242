// SPDX-License-Identifier: Apache-2.0
// A backend without a model: each answer goes through its prompt's tokens again and again, one each millisecond.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <thread>

#include "serve/backend.h"

namespace braid {

class FakeBackend : public Backend {
 public:
  explicit FakeBackend(const Tokenizer& tokenizer)
      : tokenizer_(tokenizer), thread_([this](const std::stop_token& stopped) { run(stopped); }) {}
  ~FakeBackend() override { stop(); }
  void stop() {  // nothing is told from here on
    thread_.request_stop();
    if (thread_.joinable()) thread_.join();
  }

  RequestId submit(GenerationRequest request, OnProgress on_progress, double timeout_seconds) override {
    const std::lock_guard lock(mutex_);
    if (static_cast<int64_t>(live_.size()) >= room) throw QueueFull("as many requests wait as may");
    last = request;
    last_timeout = timeout_seconds;
    live_.emplace(++ids_, Live{request, GrowingAnswer(request, &tokenizer_), std::move(on_progress)});
    return ids_;
  }

  void cancel(RequestId id) override {
    const std::lock_guard lock(mutex_);
    if (const auto found = live_.find(id); found != live_.end()) found->second.cancelled = true;
  }

  EngineState state() const override {
    const std::lock_guard lock(mutex_);
    EngineState state;
    state.running = static_cast<int64_t>(live_.size());
    state.weight_bytes = 1000;
    state.cache_bytes = 200;
    state.workspace_bytes = 34;
    state.warm_up_seconds = 1.5;
    state.recorded_sizes = 6;
    state.recording_problem = recording_problem;
    return state;
  }

  int64_t live() const { return state().running; }
  int64_t submitted() const {
    const std::lock_guard lock(mutex_);
    return static_cast<int64_t>(ids_);
  }

  // What a test decides, before its requests.
  std::string recording_problem;
  int64_t room = 1000;
  std::atomic<bool> held = false;  // nothing goes on but what is cancelled
  std::atomic<int> step_microseconds = 1000;
  std::optional<RequestOutcome> trouble;  // instead of the third token
  std::vector<TokenLogprob> top;          // of every token
  GenerationRequest last;                 // that was submitted
  double last_timeout = 0;
  // Told by the thread of this: whether what it does is its own business, or the server's.
  std::atomic<void (*)(bool own)> own_business = nullptr;

 private:
  struct Live {
    GenerationRequest request;
    GrowingAnswer answer;
    OnProgress tell;
    bool cancelled = false;
    size_t steps = 0;
  };

  void tell_whose(bool own) const {
    if (const auto tell = own_business.load()) tell(own);
  }

  RequestEnd end_of(const Live& live, RequestOutcome outcome) const {
    RequestEnd end;
    end.outcome = outcome;
    end.stop_string = live.answer.answer().stop_string;
    end.stop_id = live.answer.answer().stop_id;
    end.prompt_tokens = static_cast<int64_t>(live.request.prompt.size());
    end.tokens = static_cast<int64_t>(live.answer.answer().tokens.size());
    end.decode_seconds = 0.001 * static_cast<double>(end.tokens);
    if (outcome == RequestOutcome::failed) end.message = "logits are NaN";
    return end;
  }

  // Whether it has ended.
  bool advance(Live& live) {
    RequestProgress progress;
    if (live.cancelled) {
      progress.end = end_of(live, RequestOutcome::cancelled);
    } else if (held) {
      return false;
    } else if (trouble && live.steps == 2) {
      progress.end = end_of(live, *trouble);
    } else {
      progress.tokens = {{live.request.prompt[live.steps++ % live.request.prompt.size()], -0.5, top}};
      progress.text = live.answer.push(progress.tokens.front());
      const FinishReason reason = live.answer.answer().reason;
      if (reason == FinishReason::stop) progress.end = end_of(live, RequestOutcome::stop);
      if (reason == FinishReason::length) progress.end = end_of(live, RequestOutcome::length);
    }
    const bool ended = progress.end.has_value();
    tell_whose(false);
    live.tell(std::move(progress));
    tell_whose(true);
    return ended;
  }

  void run(const std::stop_token& stopped) {
    while (!stopped.stop_requested()) {
      tell_whose(true);
      std::this_thread::sleep_for(std::chrono::microseconds(step_microseconds));
      const std::lock_guard lock(mutex_);
      for (auto one = live_.begin(); one != live_.end();)
        one = advance(one->second) ? live_.erase(one) : std::next(one);
    }
  }

  const Tokenizer& tokenizer_;
  mutable std::mutex mutex_;
  std::map<RequestId, Live> live_;
  RequestId ids_ = 0;
  std::jthread thread_;
};

inline Tokenizer test_tokenizer() {
  return Tokenizer::from_file((std::filesystem::path(__FILE__).parent_path() / "../text/data/smol.json").string());
}

inline ServedModel test_model() {
  ServedModel model{"tiny", 256,   1700000000, test_tokenizer(), ChatTemplate::from_name("chatml"), true, {},
                    {},     "cpu", "fp32"};
  return model;
}

}  // namespace braid
