// SPDX-License-Identifier: Apache-2.0
#include "data/needle_stream.h"

#include <algorithm>

#include "base/error.h"
#include "base/philox.h"
#include "data/needle_haystack.h"
#include "data/needle_mirror.h"

namespace braid {

namespace {

constexpr uint64_t draw_task = 0, draw_language = 1;
constexpr int64_t filler_attempt = int64_t{1} << 24;  // of NeedleDraws: beyond all that a sample itself makes

size_t drawn(const Shares& shares, double at) {
  size_t i = 0;
  for (; i + 1 < shares.size() && at >= shares[i].second; ++i) at -= shares[i].second;
  return i;
}

NeedleSplit split_of(Split split) { return split == Split::train ? NeedleSplit::train : NeedleSplit::test; }

WordingPart wording_part(const std::string& name) {
  return name == "first" ? WordingPart::first : name == "rest" ? WordingPart::rest : WordingPart::all;
}

RandomStream mix_of(const NeedleSpec& spec, Split split, int64_t index) {
  const char* name = split == Split::train ? "needle mix" : "needle mix held-out";
  return RandomStream(spec.seed, RandomPurpose::task, name, index >> 32, index & 0xffffffff);
}

}  // namespace

NeedleForm byte_form() {
  NeedleForm form;
  form.ask = [](const NeedleSample& sample) {
    const NeedleTokens bytes;
    NeedleForm::Asked asked{bytes.encode("\n" + sample.question + "\n"), bytes.encode(answer_text(sample))};
    asked.answer.push_back(byte_end);
    return asked;
  };
  return form;
}

std::shared_ptr<const NeedleSource> make_needle_source(const NeedleConfig& config, NeedleForm form, int64_t vocabulary,
                                                       uint64_t seed) {
  config.check();
  auto source = std::make_shared<NeedleSource>();
  source->form = std::move(form);
  source->vocabulary = vocabulary;
  source->tasks = config.task_shares();
  source->languages = config.language_shares();
  for (const auto& [language, share] : source->languages) {
    source->texts.push_back(part_of(own_needle_texts(language), wording_part(config.wordings)));
  }
  source->spec.seed = seed;
  source->spec.keys = config.keys;
  source->spec.form = key_form(config.characters, config.key_length);
  source->question_tokens = config.question_tokens;
  return source;
}

const NeedleTexts& NeedleStream::texts_of(int64_t index) const {
  const double at = mix_of(source_->spec, shape_.split, index).uniform(draw_language);
  return source_->texts[drawn(source_->languages, at)];
}

NeedleSpec NeedleStream::spec_of(int64_t index) const {
  NeedleSpec spec = source_->spec;
  const double at = mix_of(spec, shape_.split, index).uniform(draw_task);
  spec.task = needle_task(source_->tasks[drawn(source_->tasks, at)].first);
  spec.least_tokens = spec.most_tokens = shape_.context;
  spec.distractor_rate = shape_.distractors;
  return spec;
}

TokenisedNeedles NeedleStream::make(int64_t index) const {
  return make_needle_sample(spec_of(index), texts_of(index), source_->form.tokens, split_of(shape_.split), index);
}

// The last `count` tokens of a filler that names no key of the sample.
std::vector<TokenId> NeedleStream::before(int64_t index, const NeedleSample& sample, int64_t count) const {
  NeedlePlan plan;
  plan.form = source_->spec.form;
  plan.secrets = sample.answers;
  for (const Needle& needle : sample.needles) {
    if (!needle.key.empty()) plan.secrets.push_back(needle.key);
    plan.secrets.push_back(needle.value);
  }
  for (int64_t budget = 2 * count + 64;; budget *= 2) {
    NeedleDraws draws(source_->spec.seed, split_of(shape_.split), index, filler_attempt);
    const Haystack filler = build_haystack(spec_of(index), texts_of(index), source_->form.tokens, plan,
                                           split_of(shape_.split), budget, draws);
    if (std::ssize(filler.tokens) >= count) return {filler.tokens.end() - count, filler.tokens.end()};
  }
}

void NeedleStream::sample(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const {
  sample_with_needle(index, tokens, targets);
}

Slice NeedleStream::sample_with_needle(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const {
  const TokenisedNeedles made = make(index);
  const int64_t missing = shape_.context - std::ssize(made.tokens);
  auto next = tokens.begin();
  if (missing > 0) next = std::ranges::copy(before(index, made.sample, missing), next).out;
  next = std::ranges::copy(made.tokens, next).out;
  const NeedleForm::Asked asked = source_->form.ask(made.sample);
  const int64_t question = std::ssize(asked.question), answer = std::ssize(asked.answer);
  if (question + answer - 1 > source_->question_tokens) {
    throw UsageError(str("needles.question_tokens: expected at least ", question + answer - 1, ", found ",
                         source_->question_tokens));
  }
  next = std::ranges::copy(asked.question, next).out;
  next = std::copy(asked.answer.begin(), asked.answer.end() - 1, next);
  std::fill(next, tokens.end(), asked.answer.back());
  std::ranges::fill(targets, ignored_target);
  std::ranges::copy(asked.answer, targets.begin() + shape_.context + question - 1);
  Slice needle{shape_.context, 0};
  int64_t last = 0;
  for (const Needle& one : made.sample.needles) {
    needle.first = std::min(needle.first, missing + one.tok_start);
    last = std::max(last, missing + one.tok_end);
  }
  needle.count = last - needle.first;
  return needle;
}

}  // namespace braid
