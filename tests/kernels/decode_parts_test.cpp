// SPDX-License-Identifier: Apache-2.0
// What lies between the products of a decode step against plain formulas in double, at every instruction set.
#include "kernels/decode_parts.h"

#include <cmath>

#include "support.h"

namespace braid::kernels {
namespace {

using namespace test;

template <class E>
void expect_rounded(const std::vector<typename E::Stored>& got, const Numbers& expected, double operations, const char* what) {
  Numbers bound;
  for (const double x : expected) bound.push_back(E::storage * std::abs(x) + operations * E::operation * (1 + std::abs(x)));
  expect_near(seen<E>(got), expected, bound, what);
}

template <class E>
void expect_turned() {
  constexpr int64_t rows = 2, count = 3, stride = 300;
  for (const int64_t width : {6, 64, 72}) {
    Random random;
    const auto given = stored<E>(random.normal(rows * stride));
    const std::vector<float> cosine = as<float>(random.normal(rows * width)), sine = as<float>(random.normal(rows * width));
    auto heads = given;
    turn_heads(E::element, {rows, count, width, stride}, cosine.data(), sine.data(), heads.data());
    const Numbers x = seen<E>(given);
    Numbers expected = x;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = 0; i < count * width; ++i) {
        const int64_t c = i % width, half = width / 2, other = c < half ? i + half : i - half;
        expected[size_t(r * stride + i)] = x[size_t(r * stride + i)] * cosine[size_t(r * width + c)] +
                                           (c < half ? -1 : 1) * x[size_t(r * stride + other)] * sine[size_t(r * width + c)];
      }
    }
    expect_rounded<E>(heads, expected, 64, "heads");
  }
}
TEST(DecodeParts, HeadsAreTurnedAndNothingBehindThem) {
  at_every_level([] { expect_turned<Float32>(), expect_turned<BFloat16>(); });
}

template <class E>
void expect_gated() {
  Numbers x = Random().normal(75);
  for (size_t i = 0; i < x.size(); ++i) x[i] *= i % 5 == 0 ? 40 : 3;
  const auto gates = stored<E>(x), ups = stored<E>(Random().normal(75));
  std::vector<typename E::Stored> out(75);
  gate(E::element, 75, gates.data(), ups.data(), out.data());
  const Numbers g = seen<E>(gates), up = seen<E>(ups);
  Numbers silu;
  for (const double value : g) silu.push_back(value / (1 + std::exp(-value)));
  Numbers expected, bound;
  for (size_t i = 0; i < g.size(); ++i) {
    expected.push_back(silu[i] * up[i]);
    bound.push_back((2 * E::storage + 8 * E::operation) * std::abs(expected[i]) + 1e-30);
  }
  expect_near(seen<E>(out), expected, bound, "gated");
}
TEST(DecodeParts, GateIsSiluTimesTheOtherHalf) {
  at_every_level([] { expect_gated<Float32>(), expect_gated<BFloat16>(); });
}

// Two texts, one padded, 4 heads over 2 key heads, 21 slots filled of 30, then 140 of 150; on one thread and on three.
template <class E>
void expect_attention(int64_t slots, int64_t filled) {
  constexpr int64_t texts = 2, heads = 4, kv = 2;
  const std::vector<int64_t> first = {5, 0};
  for (const int64_t width : {6, 64}) {
    Random random;
    const auto packed = stored<E>(random.normal(texts * (heads + 2 * kv) * width));
    const auto old_keys = stored<E>(random.normal(texts * kv * slots * width)), old_values = stored<E>(random.normal(texts * kv * slots * width));
    const CachedShape shape{texts, heads, kv, width, slots, filled};
    for (const int64_t threads : {1, 3}) {
      auto keys = old_keys, values = old_values;
      std::vector<typename E::Stored> out(size_t(texts * heads * width));
      for (int64_t t = 0; t < threads; ++t) {
        attend_cached(E::element, shape, packed.data(), first.data(), keys.data(), values.data(), out.data(), t, threads);
      }
      const Numbers q = seen<E>(packed), k = seen<E>(keys), v = seen<E>(values);
      Numbers expected;
      for (int64_t b = 0; b < texts; ++b) {
        for (int64_t h = 0; h < heads; ++h) {
          const int64_t head = b * kv + h / 2;
          const double* const query = &q[size_t((b * (heads + 2 * kv) + h) * width)];
          Numbers weight;
          double total = 0;
          for (int64_t j = first[size_t(b)]; j <= filled; ++j) {
            double score = 0;
            for (int64_t c = 0; c < width; ++c) score += query[c] * k[size_t((head * slots + j) * width + c)];
            total += weight.emplace_back(std::exp(score / std::sqrt(double(width))));
          }
          for (int64_t c = 0; c < width; ++c) {
            double sum = 0;
            for (size_t j = 0; j < weight.size(); ++j) {
              sum += weight[j] / total * v[size_t((head * slots + first[size_t(b)] + int64_t(j)) * width + c)];
            }
            expected.push_back(sum);
          }
        }
      }
      expect_rounded<E>(out, expected, 256, "out");
      for (int64_t b = 0; b < texts; ++b) {
        for (int64_t h = 0; h < kv; ++h) {
          const int64_t slot = ((b * kv + h) * slots + filled) * width, in = (b * (heads + 2 * kv) + heads + h) * width;
          EXPECT_EQ(keys[size_t(slot)], packed[size_t(in)]);
          EXPECT_EQ(values[size_t(slot)], packed[size_t(in + kv * width)]);
          EXPECT_EQ(keys[size_t(slot - width)], old_keys[size_t(slot - width)]);
        }
      }
    }
  }
}
TEST(DecodeParts, ATokenAttendsToItsTextAndItself) {
  at_every_level([] {
    expect_attention<Float32>(30, 21), expect_attention<BFloat16>(30, 21);
    expect_attention<Float32>(150, 140), expect_attention<BFloat16>(150, 140);
  });
}

}  // namespace
}  // namespace braid::kernels
