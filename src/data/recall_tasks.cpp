// SPDX-License-Identifier: Apache-2.0
#include "data/recall_tasks.h"

#include <algorithm>

#include "base/error.h"
#include "base/philox.h"

namespace braid {

namespace {

RandomStream stream_of(const RecallShape& shape, const char* task, int64_t index) {
  const std::string name = std::string(task) + (shape.split == Split::train ? "" : " held-out");
  return RandomStream(shape.seed, RandomPurpose::task, name, index >> 32, index & 0xffffffff);
}

// From a full sequence of T + 1 tokens to inputs and targets; nothing carries loss yet.
void put(const std::vector<int64_t>& sequence, std::span<int64_t> tokens, std::span<int64_t> targets) {
  std::copy_n(sequence.begin(), tokens.size(), tokens.begin());
  std::fill(targets.begin(), targets.end(), ignored_target);
}

// The first `count` entries of a random order of 0..size-1 (Fisher-Yates); draws elements from `first` on.
std::vector<int64_t> choose(const RandomStream& random, uint64_t first, int64_t size, int64_t count) {
  std::vector<int64_t> all(static_cast<size_t>(size));
  for (int64_t i = 0; i < size; ++i) all[i] = i;
  for (int64_t i = 0; i < count; ++i) std::swap(all[i], all[i + random.below(first + i, size - i)]);
  all.resize(static_cast<size_t>(count));
  return all;
}

}  // namespace

CopyTask::CopyTask(const RecallShape& shape) : shape_(shape) {
  if (shape.vocabulary < 3)
    throw UsageError(str("model.vocabulary: the copy task needs at least 3, found ", shape.vocabulary));
  if (shape.length < 3)
    throw UsageError(str("model.context: the copy task needs at least 3 tokens, found ", shape.length));
}

void CopyTask::sample(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const {
  const RandomStream random = stream_of(shape_, "copy", index);
  const int64_t n = (shape_.length + 1) / 2, separator = shape_.vocabulary - 1;  // 2 n + 1 >= T + 1
  std::vector<int64_t> sequence(static_cast<size_t>(2 * n + 1), separator);
  for (int64_t i = 0; i < n; ++i) sequence[i] = sequence[n + 1 + i] = random.below(i, separator);
  put(sequence, tokens, targets);
  for (int64_t i = n; i < shape_.length; ++i) targets[i] = sequence[i + 1];
}

InductionTask::InductionTask(const RecallShape& shape) : shape_(shape) {
  if (shape.length < 8)
    throw UsageError(str("model.context: the induction task needs at least 8 tokens, found ", shape.length));
  if (shape.vocabulary / 2 < pairs()) {
    throw UsageError(str("model.vocabulary: the induction task needs at least ", 2 * pairs(), " for a context of ",
                         shape.length, ", found ", shape.vocabulary));
  }
}

// Keys are the lower half of the vocabulary, values the upper.
void InductionTask::sample(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const {
  const RandomStream random = stream_of(shape_, "induction", index);
  const int64_t keys = shape_.vocabulary / 2, n = pairs();
  const std::vector<int64_t> key = choose(random, 0, keys, n), again = choose(random, 1000000, n, n);
  std::vector<int64_t> value(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) value[i] = keys + random.below(2000000 + i, shape_.vocabulary - keys);
  std::vector<int64_t> sequence;
  for (int64_t i = 0; i < n; ++i) sequence.insert(sequence.end(), {key[i], value[i]});
  for (const int64_t i : again) sequence.insert(sequence.end(), {key[i], value[i]});
  // A length that is no multiple of 4 is filled with the first key: no loss there.
  sequence.resize(static_cast<size_t>(shape_.length) + 1, key[0]);
  put(sequence, tokens, targets);
  for (int64_t i = 0; i < n; ++i) targets[2 * n + 2 * i] = sequence[2 * n + 2 * i + 1];
}

ModularSumTask::ModularSumTask(const RecallShape& shape, const ModularSum& sum) : shape_(shape), sum_(sum) {
  if (shape.vocabulary < sum.modulus) {
    throw UsageError(str("model.vocabulary: modular sums need at least data.modulus = ", sum.modulus, ", found ",
                         shape.vocabulary));
  }
  if (shape.length < sum.terms) {
    throw UsageError(str("model.context: modular sums need at least data.terms = ", sum.terms, ", found ",
                         shape.length));
  }
}

void ModularSumTask::sample(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const {
  const RandomStream random = stream_of(shape_, "modular sum", index);
  std::fill(targets.begin(), targets.end(), ignored_target);
  int64_t sum = 0;  // of the last k
  for (int64_t i = 0; i < shape_.length; ++i) {
    tokens[i] = random.below(i, sum_.modulus);
    sum += tokens[i] - (i >= sum_.terms ? tokens[i - sum_.terms] : 0);
    if (i + 1 >= sum_.terms) targets[i] = sum % sum_.modulus;
  }
}

}  // namespace braid
