// SPDX-License-Identifier: Apache-2.0
// From a request's generations to its reply: submits them, passes on what they bring, cancels them when the client
// goes.
#pragma once

#include <memory>
#include <vector>

#include "serve/backend.h"
#include "serve/call.h"
#include "serve/metrics.h"
#include "serve/refusal.h"

namespace braid {

// How answers are told, whole or as a stream.
class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;
  virtual void begin(Call& call) = 0;  // all are on their way
  virtual void progress(Call& call, size_t answer, const RequestProgress& progress) = 0;
  virtual void end(Call& call) = 0;                       // all have ended well
  virtual void fail(Call& call, const Refusal& why) = 0;  // one has not; before begin, or the last of all
};

struct Generation {
  std::vector<GenerationRequest> requests;
  std::shared_ptr<AnswerWriter> writer;
};

struct AnsweringSite {
  Backend& backend;
  Metrics& metrics;
  Poster post;
  double timeout_seconds = 0;
};

// On the server's thread alone.
class Answering : public std::enable_shared_from_this<Answering> {
 public:
  Answering(std::shared_ptr<Call> call, Generation generation, AnsweringSite site);

  void start(std::function<void()> on_done);  // called once all have ended, perhaps at once
  void cancel();                              // all that have not ended

 private:
  struct One {
    RequestId id = 0;
    bool ended = false;
    double last_token_seconds = 0;  // since the request came; 0: none yet
  };

  void submit_all();
  void begin();
  template <class Act>
  void tell(const Act& act);
  void refuse(const Refusal& why);
  void fail(const Refusal& why);
  void progress(size_t answer, const RequestProgress& progress);
  void count(One& one, const RequestProgress& progress);
  void ended(size_t answer, const RequestEnd& end);

  std::shared_ptr<Call> call_;
  Generation generation_;
  AnsweringSite site_;
  std::function<void()> on_done_;
  std::vector<One> all_;
  size_t left_ = 0;    // that were submitted and have not ended
  bool told_ = false;  // the reply is complete, or will never be
};

}  // namespace braid
