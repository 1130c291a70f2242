// SPDX-License-Identifier: Apache-2.0
// Three tasks that cannot be solved without looking back, with loss only where looking back helps.
//   copy:      r_1 … r_n SEP r_1 … r_n      loss on the second half; n = T / 2 rounded up, SEP the last token id; for
//              odd T the last token of the copy is cut off
//   induction: pairs (key, value) drawn at random, then the same keys in another order; loss on the values of the
//              second showing (Olsson et al., "In-context learning and induction heads", 2022)
//   modular_sum: digits below M drawn at random; the target of each is the sum of the last k modulo M, from the k-th on
// Training and held-out samples come from unrelated random streams. They can coincide, but rarely: a held-out sequence
// of the copy task is also among N training ones with a chance of at most N / (V - 1)^n; of the induction task, with
// n = T / 4 pairs, K = V / 2 keys and at least as many values, at most N / (K (K - 1) … (K - n + 1) K^n n!); of modular
// sums, N / M^T.
#pragma once

#include <string>

#include "data/dataset.h"

namespace braid {

enum class Split { train, held_out };

struct RecallShape {
  int64_t vocabulary = 64, length = 64;
  uint64_t seed = 0;
  Split split = Split::train;
};

class CopyTask final : public Dataset {
 public:
  explicit CopyTask(const RecallShape& shape);  // UsageError when vocabulary < 3 or length < 3
  int64_t vocabulary() const override { return shape_.vocabulary; }
  int64_t length() const override { return shape_.length; }
  int64_t epoch_size() const override { return -1; }
  void sample(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const override;

 private:
  RecallShape shape_;
};

class InductionTask final : public Dataset {
 public:
  explicit InductionTask(const RecallShape& shape);  // UsageError when there are not enough different keys
  int64_t vocabulary() const override { return shape_.vocabulary; }
  int64_t length() const override { return shape_.length; }
  int64_t epoch_size() const override { return -1; }
  void sample(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const override;

 private:
  int64_t pairs() const { return shape_.length / 4; }
  RecallShape shape_;
};

struct ModularSum {
  int64_t terms = 3, modulus = 7;  // k, M
};

class ModularSumTask final : public Dataset {
 public:
  ModularSumTask(const RecallShape& shape, const ModularSum& sum);  // UsageError when V < M or T < k
  int64_t vocabulary() const override { return shape_.vocabulary; }
  int64_t length() const override { return shape_.length; }
  int64_t epoch_size() const override { return -1; }
  void sample(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const override;

 private:
  RecallShape shape_;
  ModularSum sum_;
};

}  // namespace braid
