// SPDX-License-Identifier: Apache-2.0
// Causal attention against the plain formula in double, its gradient against central differences and against the
// formula's, for odd sizes, shared key-value heads and sequences longer than a block of queries.
#include "kernels/attention.h"

#include <algorithm>
#include <limits>

#include "support.h"

namespace braid::kernels {
namespace {

using namespace test;

struct Problem {
  AttentionShape shape;
  Numbers qkv, dout;

  int64_t slots() const { return shape.heads + 2 * shape.key_value_heads; }
  int64_t rows() const { return shape.batch * shape.tokens; }
  int64_t matrix() const { return shape.batch * shape.heads * shape.tokens * shape.tokens; }
  size_t in(int64_t b, int64_t t, int64_t slot) const {
    return size_t(((b * shape.tokens + t) * slots() + slot) * shape.width);
  }
  size_t out(int64_t b, int64_t t, int64_t h) const {
    return size_t(((b * shape.tokens + t) * shape.heads + h) * shape.width);
  }
};

template <class E>
Problem random_problem(const AttentionShape& shape, double deviation, Random& random) {
  Problem p{shape, {}, {}};
  p.qkv = rounded<E>(random.normal(p.rows() * p.slots() * shape.width, deviation));
  p.dout = rounded<E>(random.normal(p.rows() * shape.heads * shape.width));
  return p;
}

struct Result {
  Numbers out, dqkv, probabilities;
};

double dot(const Numbers& a, size_t i, const Numbers& b, size_t j, int64_t width) {
  double sum = 0;
  for (int64_t c = 0; c < width; ++c) sum += a[i + size_t(c)] * b[j + size_t(c)];
  return sum;
}
void add_scaled(Numbers& to, size_t i, const Numbers& from, size_t j, double factor, int64_t width) {
  for (int64_t c = 0; c < width; ++c) to[i + size_t(c)] += factor * from[j + size_t(c)];
}

// One query row of the formula, forward and backward.
void plain_row(const Problem& p, int64_t b, int64_t h, int64_t t, Result& r) {
  const auto& [B, T, H, G, d] = p.shape;
  const double scale = 1 / std::sqrt(double(d));
  const int64_t key = H + h / (H / G), value = key + G;
  const size_t q = p.in(b, t, h), o = p.out(b, t, h);
  Numbers weight(size_t(t + 1));
  double most = -std::numeric_limits<double>::infinity(), sum = 0, mean = 0;
  for (int64_t j = 0; j <= t; ++j) most = std::max(most, weight[size_t(j)] = scale * dot(p.qkv, q, p.qkv, p.in(b, j, key), d));
  for (double& w : weight) sum += w = std::exp(w - most);
  for (int64_t j = 0; j <= t; ++j) {
    const double probability = weight[size_t(j)] /= sum;
    r.probabilities[size_t(((b * H + h) * T + t) * T + j)] = probability;
    add_scaled(r.out, o, p.qkv, p.in(b, j, value), probability, d);
    mean += probability * dot(p.dout, o, p.qkv, p.in(b, j, value), d);
  }
  for (int64_t j = 0; j <= t; ++j) {
    const double ds = weight[size_t(j)] * (dot(p.dout, o, p.qkv, p.in(b, j, value), d) - mean) * scale;
    add_scaled(r.dqkv, q, p.qkv, p.in(b, j, key), ds, d);
    add_scaled(r.dqkv, p.in(b, j, key), p.qkv, q, ds, d);
    add_scaled(r.dqkv, p.in(b, j, value), p.dout, o, weight[size_t(j)], d);
  }
}

Result plain(const Problem& p) {
  Result r{Numbers(p.dout.size()), Numbers(p.qkv.size()), Numbers(size_t(p.matrix()))};
  for (int64_t b = 0; b < p.shape.batch; ++b) {
    for (int64_t h = 0; h < p.shape.heads; ++h) {
      for (int64_t t = 0; t < p.shape.tokens; ++t) plain_row(p, b, h, t, r);
    }
  }
  return r;
}

template <class E>
Result kernel(const Problem& p, bool keep) {
  using S = typename E::Coefficient;
  const auto qkv = stored<E>(p.qkv), dout = stored<E>(p.dout);
  auto out = stored<E>(Numbers(p.dout.size())), dqkv = stored<E>(Numbers(p.qkv.size()));
  std::vector<S> lse(size_t(p.rows() * p.shape.heads)), probabilities(size_t(p.matrix()), S(-1));
  attention(E::element, p.shape, qkv.data(), out.data(), lse.data(), keep ? probabilities.data() : nullptr);
  attention_backward(E::element, p.shape, qkv.data(), lse.data(), keep ? probabilities.data() : nullptr, dout.data(),
                     dqkv.data());
  return {seen<E>(out), seen<E>(dqkv), Numbers(probabilities.begin(), probabilities.end())};
}

const std::vector<AttentionShape> shapes = {{1, 1, 1, 1, 1},  {2, 3, 2, 1, 5},   {1, 17, 4, 2, 16},
                                            {2, 64, 2, 2, 32}, {1, 77, 3, 1, 24}, {1, 130, 2, 2, 64}};

// Sums of up to 130 terms of size 1 in the type that is computed in, and the rounding of what is stored.
template <class E>
void expect_formula() {
  Random random;
  for (const AttentionShape& shape : shapes) {
    for (const double deviation : {1.0, 4.0}) {
      SCOPED_TRACE(str("T ", shape.tokens, " H ", shape.heads, " d ", shape.width, " deviation ", deviation));
      const Problem p = random_problem<E>(shape, deviation, random);
      const Result expected = plain(p);
      const double noise = 4096 * E::operation * deviation * deviation * deviation;
      const auto bound = [&](const Numbers& values) {
        Numbers out;
        for (const double x : values) out.push_back(2 * E::storage * std::abs(x) + noise);
        return out;
      };
      for (const bool keep : {false, true}) {
        const Result got = kernel<E>(p, keep);
        ASSERT_NO_FATAL_FAILURE(expect_near(got.out, expected.out, bound(expected.out), "out"));
        ASSERT_NO_FATAL_FAILURE(expect_near(got.dqkv, expected.dqkv, bound(expected.dqkv), "dqkv"));
        if (!keep) continue;
        const Numbers slack(expected.probabilities.size(), noise);
        ASSERT_NO_FATAL_FAILURE(expect_near(got.probabilities, expected.probabilities, slack, "probabilities"));
      }
    }
  }
}

TEST(Attention, FollowsTheFormulaInFloat32AtEveryInstructionSet) { at_every_level(expect_formula<Float32>); }
TEST(Attention, FollowsTheFormulaInBFloat16AtEveryInstructionSet) { at_every_level(expect_formula<BFloat16>); }
TEST(Attention, FollowsTheFormulaInFloat64AtEveryInstructionSet) { at_every_level(expect_formula<Float64>); }

TEST(Attention, GradientIsTheCentralDifference) {
  Random random;
  Problem p = random_problem<Float64>({2, 5, 4, 2, 3}, 1.0, random);
  const Numbers gradient = kernel<Float64>(p, false).dqkv;
  const auto objective = [&] {
    const Numbers out = kernel<Float64>(p, false).out;
    double sum = 0;
    for (size_t i = 0; i < out.size(); ++i) sum += out[i] * p.dout[i];
    return sum;
  };
  const double h = 1e-5;
  for (size_t i = 0; i < p.qkv.size(); ++i) {
    const double kept = p.qkv[i];
    p.qkv[i] = kept + h;
    const double above = objective();
    p.qkv[i] = kept - h;
    const double below = objective();
    p.qkv[i] = kept;
    ASSERT_NEAR((above - below) / (2 * h), gradient[i], 1e-8) << i;
  }
}

TEST(Attention, GradientsOfTheScoresOfARowSumToNothing) {
  // With equal keys the gradient of a query is the sum of its row's score gradients times that key.
  Random random;
  Problem p = random_problem<BFloat16>({1, 40, 1, 1, 8}, 1.0, random);
  for (int64_t t = 0; t < 40; ++t) {
    for (int64_t c = 0; c < 8; ++c) p.qkv[p.in(0, t, 1) + size_t(c)] = 1.0;
  }
  for (const bool keep : {false, true}) {
    const Result got = kernel<BFloat16>(p, keep);
    for (int64_t t = 0; t < 40; ++t) {
      for (int64_t c = 0; c < 8; ++c) EXPECT_NEAR(got.dqkv[p.in(0, t, 0) + size_t(c)], 0, 1e-6) << t;
    }
  }
}

TEST(Attention, LaterTokensChangeNothingBefore) {
  Random random;
  Problem p = random_problem<Float32>({1, 50, 2, 1, 16}, 1.0, random);
  const Numbers before = kernel<Float32>(p, false).out;
  for (size_t i = p.in(0, 33, 0); i < p.qkv.size(); ++i) p.qkv[i] += 100;
  const Numbers after = kernel<Float32>(p, false).out;
  for (size_t i = 0; i < p.out(0, 33, 0); ++i) ASSERT_EQ(after[i], before[i]) << i;
  for (size_t i = p.out(0, 33, 0); i < after.size(); ++i) ASSERT_NE(after[i], before[i]) << i;
}

TEST(Attention, IsTheSameBitsForEveryNumberOfThreads) {
  Random random;
  const Problem p = random_problem<Float32>({3, 70, 4, 2, 32}, 1.0, random);
  Result of_one;
  with_threads(1, [&] { of_one = kernel<Float32>(p, true); });
  for (const int threads : {2, 3, 4}) {
    with_threads(threads, [&] {
      const Result got = kernel<Float32>(p, true);
      EXPECT_EQ(got.out, of_one.out);
      EXPECT_EQ(got.dqkv, of_one.dqkv);
    });
  }
}

// Chunks of tokens, each attended to by those of its own and of later chunks.
template <class E>
Result by_chunks(const Problem& p, int64_t chunk) {
  using S = typename E::Coefficient;
  const auto& [B, T, H, G, d] = p.shape;
  const auto qkv = stored<E>(p.qkv), dout = stored<E>(p.dout);
  std::vector<S> sums(p.dout.size()), lse(size_t(B * H * T), -std::numeric_limits<S>::infinity()), dots(lse.size());
  std::vector<S> dq(p.dout.size()), dkv(p.qkv.size());
  const auto for_parts = [&](auto work) {
    for (int64_t q = 0; q < T; q += chunk) {
      for (int64_t k = 0; k <= q; k += chunk) {
        const AttentionRows packed{T * p.slots() * d, p.slots() * d}, out{T * H * d, H * d};
        work(AttentionPart{B, std::min(chunk, T - q), std::min(chunk, T - k), H, G, d, k == q, packed, packed, out, T}, p.in(0, q, 0),
             p.in(0, k, H), p.out(0, q, 0), q);
      }
    }
  };
  for_parts([&](const AttentionPart& part, size_t query, size_t key, size_t row, int64_t first) {
    attention_part(E::element, part, &qkv[query], &qkv[key], &sums[row], &lse[size_t(first)]);
  });
  const Numbers rows(sums.begin(), sums.end());
  for (size_t i = 0; i < dots.size(); ++i) {
    const int64_t head = int64_t(i) / T, t = int64_t(i) % T;
    const size_t row = p.out(head / H, t, head % H);
    dots[i] = S(dot(rows, row, p.dout, row, d));
  }
  for_parts([&](const AttentionPart& part, size_t query, size_t key, size_t row, int64_t first) {
    attention_part_backward(E::element, part, &qkv[query], &qkv[key], &lse[size_t(first)], &dots[size_t(first)], &dout[row], &dq[row],
                            &dkv[key]);
  });
  for (size_t row = 0; row < size_t(p.rows()); ++row) {
    std::copy_n(&dq[row * size_t(H * d)], H * d, &dkv[row * size_t(p.slots() * d)]);
  }
  return {rows, Numbers(dkv.begin(), dkv.end()), {}};
}

template <class E>
void expect_parts_to_join() {
  Random random;
  for (const AttentionShape& shape : shapes) {
    for (const int64_t chunk : {19, 64}) {
      SCOPED_TRACE(str("T ", shape.tokens, " H ", shape.heads, " d ", shape.width, " chunk ", chunk));
      const Problem p = random_problem<E>(shape, 1.0, random);
      const Result expected = plain(p), got = by_chunks<E>(p, chunk);
      const double noise = 4096 * E::operation;  // results are in the wide type
      ASSERT_NO_FATAL_FAILURE(expect_near(got.out, expected.out, Numbers(expected.out.size(), noise), "out"));
      ASSERT_NO_FATAL_FAILURE(expect_near(got.dqkv, expected.dqkv, Numbers(expected.dqkv.size(), noise), "dqkv"));
    }
  }
}

TEST(Attention, OverPartsOfTheKeysJoinsToTheFormulaAtEveryInstructionSet) {
  at_every_level(expect_parts_to_join<Float32>);
  at_every_level(expect_parts_to_join<BFloat16>);
  at_every_level(expect_parts_to_join<Float64>);
}

TEST(Attention, HeadsThatDoNotDivideAreAnError) {
  EXPECT_THROW(attention(Element::float32, {1, 1, 3, 2, 4}, nullptr, nullptr, nullptr, nullptr), Error);
}

}  // namespace
}  // namespace braid::kernels
