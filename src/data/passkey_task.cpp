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
constexpr uint64_t draw_key = 0, draw_place = 1, draw_phase = 2, draw_end = 3, draw_order = 1000;
constexpr uint64_t draw_distractor = uint64_t{1} << 32, draw_digit = uint64_t{2} << 32;
constexpr uint64_t draw_names = uint64_t{3} << 32, draw_values = draw_names + 1000, draw_places = draw_names + 2000;

RandomStream stream_of(const PasskeyShape& shape, int64_t index) {
  if (shape.samples > 0) index %= shape.samples;
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

using Digits = std::array<int64_t, key_digits>;

Digits digits_of(int64_t number) {
  Digits digit{};
  for (int64_t i = key_digits - 1; i >= 0; --i, number /= 10) digit[static_cast<size_t>(i)] = number % 10;
  return digit;
}

// Of statement i, all of them different.
std::vector<Digits> values_of(const PasskeyShape& shape, const RandomStream& random, int64_t count) {
  const int64_t keys = keys_of(shape.split);
  std::vector<int64_t> drawn = {random.below(draw_key, keys)};
  for (int64_t i = 1; i < count; ++i) {
    int64_t one = random.below(draw_values + static_cast<uint64_t>(i), keys);
    while (std::find(drawn.begin(), drawn.end(), one) != drawn.end()) one = (one + 1) % keys;
    drawn.push_back(one);
  }
  std::vector<Digits> values;
  for (const int64_t n : drawn) values.push_back(digits_of(key_number(shape.split, n)));
  return values;
}

std::vector<int64_t> names_of(const RandomStream& random, int64_t count) {
  const auto order = static_cast<uint64_t>(random.below(draw_names, int64_t{1} << 31));
  std::vector<int64_t> names;
  for (int64_t i = 0; i < count; ++i)
    names.push_back(first_word + static_cast<int64_t>(permuted_index(static_cast<uint64_t>(i), words, order, 0)));
  return names;
}

std::vector<int64_t> statement(std::vector<int64_t> before, std::span<const int64_t> value) {
  before.insert(before.end(), value.begin(), value.end());
  before.push_back(end);
  return before;
}

int64_t first_gap(const PasskeyShape& shape, const RandomStream& random, int64_t free) {
  if (shape.depth) return std::llround(*shape.depth * double(free));
  const double drawn = shape.ends > 0 ? random.uniform(draw_end) : 1;
  if (drawn < shape.ends) return 2 * drawn < shape.ends ? 0 : free;
  return random.below(draw_place, free + 1);
}

// Places in what is left of the context when all needles are taken out of it: so none reach into each other.
std::vector<int64_t> gaps_of(const PasskeyShape& shape, const RandomStream& random, size_t count, int64_t free) {
  std::vector<int64_t> gaps = {first_gap(shape, random, free)};
  const bool follow = shape.kind == PasskeyKind::vt;
  for (size_t i = 1; i < count; ++i) {
    const int64_t least = follow && shape.depth ? gaps.front() : 0;
    gaps.push_back(least + random.below(draw_places + i, free - least + 1));
  }
  if (follow) std::sort(gaps.begin(), gaps.end());
  return gaps;
}

void place(const PasskeyShape& shape, const RandomStream& random, std::vector<PasskeyNeedle>& needles) {
  int64_t free = shape.context;
  for (const PasskeyNeedle& needle : needles) free -= std::ssize(needle.tokens);
  const std::vector<int64_t> gaps = gaps_of(shape, random, needles.size(), free);
  std::vector<size_t> order(needles.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return gaps[a] < gaps[b]; });
  int64_t taken = 0;
  for (const size_t i : order) {
    needles[i].start = gaps[i] + taken;
    taken += std::ssize(needles[i].tokens);
  }
}

// The value of every name, in the text's order.
PasskeyPlan plan_values(const PasskeyShape& shape, const RandomStream& random) {
  const bool one_name = shape.kind == PasskeyKind::multivalue;
  const std::vector<int64_t> names = names_of(random, one_name ? 1 : shape.keys);
  const std::vector<Digits> values = values_of(shape, random, shape.keys);
  PasskeyPlan plan;
  for (size_t i = 0; i < values.size(); ++i)
    plan.needles.push_back({0, statement({mark, names[one_name ? 0 : i]}, values[i])});
  place(shape, random, plan.needles);
  plan.question = {one_name ? ask_all : query, names[0]};
  plan.asked = one_name ? values.size() : 1;
  if (one_name) {
    std::sort(plan.needles.begin(), plan.needles.end(), [](const auto& a, const auto& b) { return a.start < b.start; });
  }
  for (size_t i = 0; i < plan.asked; ++i)
    plan.answer.insert(plan.answer.end(), plan.needles[i].tokens.begin() + 2, plan.needles[i].tokens.end() - 1);
  return plan;
}

PasskeyPlan plan_chain(const PasskeyShape& shape, const RandomStream& random) {
  const std::vector<int64_t> names = names_of(random, shape.keys + 1);
  const Digits value = values_of(shape, random, 1).front();
  PasskeyPlan plan;
  plan.needles.push_back({0, statement({chain, names[0]}, value)});
  for (size_t i = 1; i < names.size(); ++i)
    plan.needles.push_back({0, statement({chain, names[i]}, std::array{names[i - 1]})});
  place(shape, random, plan.needles);
  plan.asked = plan.needles.size();
  plan.question = {ask_all};
  plan.question.insert(plan.question.end(), value.begin(), value.end());
  plan.answer = names;
  return plan;
}

int64_t needles_length(const PasskeyShape& shape) {
  if (!shape.has_names()) return needle_tokens;
  return shape.kind == PasskeyKind::vt ? named_needle_tokens + 4 * shape.keys : named_needle_tokens * shape.keys;
}

}  // namespace

const char* name_of(PasskeyKind kind) {
  constexpr std::array<const char*, 3> names = {"multikey", "multivalue", "vt"};
  return names[static_cast<size_t>(kind)];
}

PasskeyKind passkey_kind(const std::string& name) {
  for (const PasskeyKind kind : {PasskeyKind::multikey, PasskeyKind::multivalue, PasskeyKind::vt}) {
    if (name == name_of(kind)) return kind;
  }
  throw UsageError(str("expected multikey, multivalue or vt, found \"", name, "\""));
}

int64_t keys_that_fit(const PasskeyShape& shape) {
  PasskeyShape tried = shape;
  while (tried.keys > 1 && needles_length(tried) > shape.context) --tried.keys;
  return tried.keys;
}

int64_t keys_of(Split split) { return split == Split::held_out ? held_out_keys : all_keys - held_out_keys; }

int64_t key_number(Split split, int64_t n) {
  const int64_t place = split == Split::held_out ? n : held_out_keys + n;
  return static_cast<int64_t>(permuted_index(static_cast<uint64_t>(place), all_keys, 0, 0));
}

PasskeyTask::PasskeyTask(const PasskeyShape& shape) : shape_(shape) {
  if (shape.keys < 1 || shape.keys >= words)
    throw UsageError(str("expected 1 to ", words - 1, " keys, found ", shape.keys));
  if (shape.context >= needles_length(shape)) return;
  throw UsageError(
      str("a passkey of ", needles_length(shape), " tokens does not fit into a context of ", shape.context));
}

int64_t PasskeyTask::prefix_tokens() const {
  if (!shape_.has_names()) return 1;
  return shape_.kind == PasskeyKind::vt ? 1 + key_digits : 2;
}

int64_t PasskeyTask::answer_tokens() const {
  if (shape_.kind == PasskeyKind::vt) return shape_.keys + 2;
  return (shape_.kind == PasskeyKind::multivalue ? shape_.keys : 1) * key_digits + 1;
}

PasskeyPlan PasskeyTask::plan(int64_t index) const {
  const RandomStream random = stream_of(shape_, index);
  if (shape_.kind == PasskeyKind::vt) return plan_chain(shape_, random);
  if (shape_.has_names()) return plan_values(shape_, random);
  const Digits value = values_of(shape_, random, 1).front();
  PasskeyPlan plan{{{0, statement({mark}, value)}}, 1, {query}, {value.begin(), value.end()}};
  place(shape_, random, plan.needles);
  return plan;
}

std::array<int64_t, key_digits> PasskeyTask::key(int64_t index) const {
  return values_of(shape_, stream_of(shape_, index), 1).front();
}

void PasskeyTask::sample(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const {
  const std::span<int64_t> text = tokens.first(static_cast<size_t>(shape_.context)),
                           question = tokens.subspan(text.size());
  fill(shape_, stream_of(shape_, index), text);
  const PasskeyPlan made = plan(index);
  for (const PasskeyNeedle& needle : made.needles)
    std::copy(needle.tokens.begin(), needle.tokens.end(), text.begin() + needle.start);
  std::copy(made.question.begin(), made.question.end(), question.begin());
  std::copy(made.answer.begin(), made.answer.end(), question.begin() + std::ssize(made.question));
  std::fill(targets.begin(), targets.end(), ignored_target);
  std::copy(made.answer.begin(), made.answer.end(), targets.end() - answer_tokens());
  targets.back() = end;
}

Slice PasskeyTask::sample_with_needle(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const {
  sample(index, tokens, targets);
  const PasskeyPlan planned = plan(index);
  int64_t first = context(), behind = 0;
  for (size_t i = 0; i < planned.asked; ++i) {
    first = std::min(first, planned.needles[i].start);
    behind = std::max(behind, planned.needles[i].start + std::ssize(planned.needles[i].tokens));
  }
  return {first, behind - first};
}

}  // namespace braid
