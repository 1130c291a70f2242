// SPDX-License-Identifier: Apache-2.0
// Doubly stochastic matrices of their logits and the gradients, by their plain formulas in double, for one token.
// Sinkhorn keeps all its iterates.
#pragma once

#include <algorithm>
#include <numeric>

#include "kernels/connection.h"
#include "support.h"

namespace braid::kernels::test {

inline double logistic(double x) { return 1 / (1 + std::exp(-x)); }

// Matrices [S, S] by Sinkhorn: exp, then divided by the sums of columns, of rows, of columns, ...
inline std::vector<Numbers> sinkhorn_iterates(const Numbers& logits, int64_t S, int64_t iterations) {
  std::vector<Numbers> all(1);
  for (const double x : logits) all[0].push_back(std::exp(x));
  for (int64_t half = 0; half < 2 * iterations; ++half) {
    const Numbers& m = all.back();
    Numbers next(m.size());
    for (int64_t line = 0; line < S; ++line) {
      const auto at = [&](int64_t i) { return size_t(half % 2 ? line * S + i : i * S + line); };
      double sum = 0;
      for (int64_t i = 0; i < S; ++i) sum += m[at(i)];
      for (int64_t i = 0; i < S; ++i) next[at(i)] = m[at(i)] / sum;
    }
    all.push_back(next);
  }
  return all;
}

inline Numbers sinkhorn_gradient(const Numbers& logits, int64_t S, int64_t iterations, Numbers g) {
  const std::vector<Numbers> all = sinkhorn_iterates(logits, S, iterations);
  for (int64_t half = 2 * iterations; half-- > 0;) {
    const Numbers& m = all[size_t(half)];
    for (int64_t line = 0; line < S; ++line) {
      const auto at = [&](int64_t i) { return size_t(half % 2 ? line * S + i : i * S + line); };
      double sum = 0, dot = 0;
      for (int64_t i = 0; i < S; ++i) sum += m[at(i)], dot += m[at(i)] * g[at(i)];
      for (int64_t i = 0; i < S; ++i) g[at(i)] = g[at(i)] / sum - dot / (sum * sum);
    }
  }
  for (size_t i = 0; i < g.size(); ++i) g[i] *= all[0][i];
  return g;
}

inline std::vector<std::vector<int>> permutations_in_order(int64_t S) {
  std::vector<int> p(static_cast<size_t>(S));
  std::iota(p.begin(), p.end(), 0);
  std::vector<std::vector<int>> all;
  do all.push_back(p);
  while (std::next_permutation(p.begin(), p.end()));
  return all;
}

inline Numbers softmax(const Numbers& x) {
  Numbers out;
  double sum = 0;
  for (const double v : x) out.push_back(std::exp(v)), sum += out.back();
  for (double& v : out) v /= sum;
  return out;
}

inline Numbers mixing_of(const ConnectionShape& shape, const Numbers& logits) {
  const int64_t S = shape.streams;
  if (shape.mixing == Mixing::sinkhorn) return sinkhorn_iterates(logits, S, shape.iterations).back();
  Numbers m(size_t(S * S)), weights = softmax(logits);
  const auto all = permutations_in_order(S);
  for (size_t p = 0; p < all.size(); ++p) {
    for (int64_t i = 0; i < S; ++i) m[size_t(i * S + all[p][size_t(i)])] += weights[p];
  }
  return m;
}

inline Numbers mixing_gradient(const ConnectionShape& shape, const Numbers& logits, const Numbers& dH) {
  const int64_t S = shape.streams;
  if (shape.mixing == Mixing::sinkhorn) return sinkhorn_gradient(logits, S, shape.iterations, dH);
  const Numbers weights = softmax(logits);
  const auto all = permutations_in_order(S);
  Numbers g(all.size());
  double mean = 0;
  for (size_t p = 0; p < all.size(); ++p) {
    for (int64_t i = 0; i < S; ++i) g[p] += dH[size_t(i * S + all[p][size_t(i)])];
    mean += weights[p] * g[p];
  }
  for (size_t p = 0; p < all.size(); ++p) g[p] = weights[p] * (g[p] - mean);
  return g;
}

}  // namespace braid::kernels::test
