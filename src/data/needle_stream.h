// SPDX-License-Identifier: Apache-2.0
// Needle samples made as they are read: fresh ones without end, in the tokens of a model.
#pragma once

#include <functional>
#include <memory>

#include "data/context_task.h"
#include "data/needle_config.h"
#include "data/needle_sample.h"
#include "data/recall_tasks.h"

namespace braid {

// How samples become tokens.
struct NeedleForm {
  struct Asked {
    std::vector<TokenId> question, answer;  // up to where the answer begins; the answer and what ends it
  };
  NeedleTokens tokens;  // of contexts
  std::function<Asked(const NeedleSample&)> ask;
};

// Bytes: the question between line ends, the answer, and then byte_end.
constexpr int64_t byte_end = 256, byte_vocabulary = 257;
NeedleForm byte_form();

// What the samples of all lengths share.
struct NeedleSource {
  NeedleForm form;
  int64_t vocabulary = 0;
  Shares tasks, languages;
  std::vector<NeedleTexts> texts;  // of each language
  NeedleSpec spec;                 // keys and their form
  int64_t question_tokens = 0;
};
// UsageError.
std::shared_ptr<const NeedleSource> make_needle_source(const NeedleConfig& config, NeedleForm form, int64_t vocabulary,
                                                       uint64_t seed);

struct NeedleShape {
  int64_t context = 0;  // n tokens of every context
  Split split = Split::train;
  double distractors = 0;  // NeedleSpec::distractor_rate
};

// A sample's text has n tokens to the last one: where the generator's is shorter by a part of a sentence, the end of
// another filler stands before it. Question and answer follow, then tokens without loss up to question_tokens.
// UsageError: a context that is too short for its statements, or a question longer than question_tokens.
class NeedleStream final : public ContextTask {
 public:
  NeedleStream(std::shared_ptr<const NeedleSource> source, const NeedleShape& shape)
      : source_(std::move(source)), shape_(shape) {}
  int64_t vocabulary() const override { return source_->vocabulary; }
  int64_t length() const override { return shape_.context + source_->question_tokens; }
  int64_t epoch_size() const override { return -1; }
  int64_t context() const override { return shape_.context; }
  void sample(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const override;
  Slice sample_with_needle(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const override;

  // The sample itself, without what stands before it.
  TokenisedNeedles make(int64_t index) const;
  const NeedleSource& source() const { return *source_; }

 private:
  const NeedleTexts& texts_of(int64_t index) const;
  NeedleSpec spec_of(int64_t index) const;
  std::vector<TokenId> before(int64_t index, const NeedleSample& sample, int64_t count) const;

  std::shared_ptr<const NeedleSource> source_;
  NeedleShape shape_;
};

}  // namespace braid
