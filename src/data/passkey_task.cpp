// SPDX-License-Identifier: Apache-2.0
#include "data/passkey_task.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/philox.h"

namespace braid {

using namespace passkey;

namespace {

constexpr int64_t sentences = 24, sentence_words = 8, words = vocabulary - first_word;
constexpr int64_t all_keys = 100000, held_out_keys = all_keys / 10;

// What a sample draws, by element of its stream.
constexpr uint64_t draw_key = 0, draw_place = 1, draw_phase = 2, draw_order = 1000;
constexpr uint64_t draw_distractor = uint64_t{1} << 32, draw_digit = uint64_t{2} << 32;

RandomStream stream_of(const PasskeyShape& shape, int64_t index) {
  const char* name = shape.split == Split::train ? "passkey" : "passkey held-out";
  return RandomStream(shape.seed, RandomPurpose::task, name, index >> 32, index & 0xffffffff);
}

// Of no seed: a model that is asked has read the same sentences.
int64_t word_of(int64_t sentence, int64_t place) {
  static const RandomStream bank(0, RandomPurpose::task, "passkey filler");
  return first_word + bank.below(static_cast<uint64_t>(sentence * sentence_words + place), words);
}

void fill(const PasskeyShape& shape, const RandomStream& random, std::span<int64_t> text) {
  const int64_t phase = random.below(draw_phase, sentence_words);
  for (int64_t t = 0; t < std::ssize(text); ++t) {
    const int64_t at = t + phase;
    const int64_t sentence = random.below(draw_order + static_cast<uint64_t>(at / sentence_words), sentences);
    text[t] = word_of(sentence, at % sentence_words);
    if (shape.distractors > 0 && random.uniform(draw_distractor + t) < shape.distractors) {
      text[t] = random.below(draw_digit + t, digits);
    }
  }
}

}  // namespace

int64_t keys_of(Split split) { return split == Split::held_out ? held_out_keys : all_keys - held_out_keys; }

int64_t key_number(Split split, int64_t n) {
  const int64_t place = split == Split::held_out ? n : held_out_keys + n;
  return static_cast<int64_t>(permuted_index(static_cast<uint64_t>(place), all_keys, 0, 0));
}

PasskeyTask::PasskeyTask(const PasskeyShape& shape) : shape_(shape) {
  if (shape.context >= needle_tokens) return;
  throw UsageError(str("a passkey of ", needle_tokens, " tokens does not fit into a context of ", shape.context));
}

int64_t PasskeyTask::needle_start(int64_t index) const {
  const int64_t last = shape_.context - needle_tokens;
  if (shape_.depth) return std::llround(*shape_.depth * double(last));
  return stream_of(shape_, index).below(draw_place, last + 1);
}

std::array<int64_t, key_digits> PasskeyTask::key(int64_t index) const {
  int64_t number = key_number(shape_.split, stream_of(shape_, index).below(draw_key, keys_of(shape_.split)));
  std::array<int64_t, key_digits> digit{};
  for (int64_t i = key_digits - 1; i >= 0; --i, number /= 10) digit[i] = number % 10;
  return digit;
}

void PasskeyTask::sample(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const {
  const std::span<int64_t> text = tokens.first(static_cast<size_t>(shape_.context)),
                           question = tokens.subspan(text.size());
  fill(shape_, stream_of(shape_, index), text);
  const auto digit = key(index);
  const std::span<int64_t> needle = text.subspan(static_cast<size_t>(needle_start(index)), needle_tokens);
  needle.front() = mark;
  std::copy(digit.begin(), digit.end(), needle.begin() + 1);
  needle.back() = end;
  question.front() = query;
  std::copy(digit.begin(), digit.end(), question.begin() + 1);
  std::fill(targets.begin(), targets.end(), ignored_target);
  std::copy(digit.begin(), digit.end(), targets.end() - question_tokens);
  targets.back() = end;
}

Slice PasskeyTask::sample_with_needle(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const {
  sample(index, tokens, targets);
  return {needle_start(index), needle_tokens};
}

}  // namespace braid
