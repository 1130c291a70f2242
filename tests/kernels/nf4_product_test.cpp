// SPDX-License-Identifier: Apache-2.0
// Products with NF4 weights against sums in double over the dequantised weights, at every instruction set and in the CUDA
// twin, for few and many tokens and for rows that are no whole number of blocks.
#include "kernels/nf4_product.h"

#include <limits>

#include "kernels/cpu_level.h"
#include "kernels/dynamic_map.h"
#include "support.h"

namespace braid::kernels {
namespace {

using namespace test;

// A random quantised matrix, on the host.
struct HostMatrix {
  HostMatrix(int64_t rows, int64_t columns, bool nested) : rows(rows), columns(columns), nested(nested) {
    const int64_t count = rows * columns;
    packed.resize(size_t(nf4_bytes(count)));
    absmax.resize(size_t(nf4_blocks(count)));
    const std::vector<float> x = as<float>(Random().normal(count));
    nf4_quantise({}, count, Element::float32, x.data(), packed.data(), absmax.data());
    if (nested) {
      codes.resize(absmax.size());
      outer.resize(size_t(nf4_nested_blocks(count)));
      nf4_nest({}, int64_t(absmax.size()), absmax.data(), offset, codes.data(), outer.data());
    }
    weights.resize(size_t(count));
    std::vector<float> dense(weights.size());
    nf4_dequantise({}, on(packed.data(), scales(absmax, outer, codes, map)), {0, rows, 0, columns}, Element::float32,
                   dense.data());
    weights.assign(dense.begin(), dense.end());
  }

  template <class Floats, class Codes>
  Nf4Scales scales(Floats& single, Floats& second, Codes& code, Floats& table) const {
    if (!nested) return {single.data()};
    return {second.data(), code.data(), table.data(), offset};
  }
  Nf4Matrix on(const uint8_t* bytes, Nf4Scales scales) const { return {rows, columns, bytes, scales}; }

  int64_t rows, columns;
  bool nested;
  float offset = 2.5f;
  std::vector<uint8_t> packed, codes;
  std::vector<float> absmax, outer, map{signed_dynamic_map().value.begin(), signed_dynamic_map().value.end()};
  Numbers weights;
};

struct Sums {
  Numbers value, magnitude;
};
// out [tokens, to] = in [tokens, from] times M, where M(f, t) is an entry of the weights.
template <class Entry>
Sums dense(int64_t tokens, int64_t from, int64_t to, const Numbers& in, const Entry& entry) {
  Sums sums;
  for (int64_t n = 0; n < tokens; ++n) {
    for (int64_t t = 0; t < to; ++t) {
      double sum = 0, magnitude = 0;
      for (int64_t f = 0; f < from; ++f) {
        const double term = in[size_t(n * from + f)] * entry(f, t);
        sum += term;
        magnitude += std::abs(term);
      }
      sums.value.push_back(sum);
      sums.magnitude.push_back(magnitude);
    }
  }
  return sums;
}

template <class E>
void expect_sums(const Numbers& got, const Sums& expected, const char* what) {
  Numbers bound;
  for (size_t i = 0; i < expected.value.size(); ++i) {
    bound.push_back(E::storage * std::abs(expected.value[i]) + 64 * E::operation * expected.magnitude[i]);
  }
  expect_near(got, expected.value, bound, what);
}

template <class E>
void expect_products(Place place, const HostMatrix& host, int64_t tokens) {
  using Stored = typename E::Stored;
  SCOPED_TRACE(str(host.rows, " x ", host.columns, host.nested ? " nested, " : ", ", tokens, " tokens"));
  Random random;
  const Numbers x = rounded<E>(random.normal(tokens * host.columns)), dy = rounded<E>(random.normal(tokens * host.rows));
  Placed packed(place, host.packed), codes(place, host.codes);
  Placed absmax(place, host.absmax), outer(place, host.outer), map(place, host.map);
  const Nf4Matrix w = host.on(packed.data(), host.scales(absmax, outer, codes, map));
  Placed in(place, stored<E>(x)), gradient(place, stored<E>(dy));
  Placed y(place, std::vector<Stored>(size_t(tokens * host.rows))), dx(place, std::vector<Stored>(x.size()));
  nf4_product({place}, w, tokens, E::element, in.data(), y.data());
  nf4_product_transposed({place}, w, tokens, E::element, gradient.data(), dx.data());
  const auto weight = [&](int64_t row, int64_t column) { return host.weights[size_t(row * host.columns + column)]; };
  const auto turned = [&](int64_t column, int64_t row) { return weight(row, column); };
  expect_sums<E>(seen<E>(y.values()), dense(tokens, host.columns, host.rows, x, turned), "y");
  expect_sums<E>(seen<E>(dx.values()), dense(tokens, host.rows, host.columns, dy, weight), "dx");
}

using Shape = std::pair<int64_t, int64_t>;

template <class E>
void expect_all_shapes(Place place) {
  for (const bool nested : {false, true}) {
    for (const auto& [rows, columns] : {Shape{19, 192}, Shape{40, 576}, Shape{33, 80}, Shape{5, 7}}) {
      const HostMatrix host(rows, columns, nested);
      for (const int64_t tokens : {1, 2, 3, 4, 5, 8, 9, 37}) expect_products<E>(place, host, tokens);
    }
  }
}

TEST(Nf4Product, IsTheDenseOneInFloat32AtEveryInstructionSet) {
  at_every_level([] { expect_all_shapes<Float32>(Place::cpu); });
}
TEST(Nf4Product, IsTheDenseOneInBFloat16AtEveryInstructionSet) {
  at_every_level([] { expect_all_shapes<BFloat16>(Place::cpu); });
}
TEST(Nf4ProductGpu, IsTheDenseOneInFloat32) {
  REQUIRE_DEVICE();
  expect_all_shapes<Float32>(Place::cuda);
}
TEST(Nf4ProductGpu, IsTheDenseOneInBFloat16) {
  REQUIRE_DEVICE();
  expect_all_shapes<BFloat16>(Place::cuda);
}

// The weights where the values that codes stand for are rounded to bfloat16.
Numbers weights_of_rounded_values(const HostMatrix& host) {
  const Numbers values(nf4_values, nf4_values + 16), round = rounded<BFloat16>(values);
  Numbers weights = host.weights;
  for (size_t i = 0; i < weights.size(); ++i) {
    const size_t code = i % 2 ? host.packed[i / 2] & 15 : host.packed[i / 2] >> 4;
    if (values[code] != 0) weights[i] *= round[code] / values[code];
  }
  return weights;
}

TEST(Nf4Product, RoundsTheValuesOfCodesWherePairsOfWholeNumbersAreMultiplied) {
  if (!has_word_pairs()) GTEST_SKIP() << "this processor has no AVX512-VNNI";
  for (const bool nested : {false, true}) {
    for (const auto& [rows, columns] : {Shape{19, 192}, Shape{40, 576}, Shape{5, 64}, Shape{6, 256}}) {
      HostMatrix host(rows, columns, nested);
      const Numbers weights = weights_of_rounded_values(host);
      const Nf4Matrix w = host.on(host.packed.data(), host.scales(host.absmax, host.outer, host.codes, host.map));
      for (const int64_t tokens : {1, 2, 3, 4, 5, 6, 7, 8, 9, 17}) {
        SCOPED_TRACE(str(rows, " x ", columns, nested ? " nested, " : ", ", tokens, " tokens"));
        const Numbers x = rounded<BFloat16>(Random().normal(tokens * columns));
        const auto in = stored<BFloat16>(x);
        std::vector<BFloat16::Stored> y(size_t(tokens * rows));
        nf4_product({}, w, tokens, Element::bfloat16, in.data(), y.data());
        const auto turned = [&](int64_t column, int64_t row) { return weights[size_t(row * columns + column)]; };
        expect_sums<BFloat16>(seen<BFloat16>(y), dense(tokens, columns, rows, x, turned), "y");
      }
    }
  }
}

// What is no number or infinite is not hidden, and does not reach other tokens; numbers far apart lose no more than the
// promised share of the largest of their block.
TEST(Nf4Product, KeepsNaNAndInfinityAndNumbersFarApartWherePairsOfWholeNumbersAreMultiplied) {
  if (!has_word_pairs()) GTEST_SKIP() << "this processor has no AVX512-VNNI";
  constexpr int64_t columns = 192, rows = 6, tokens = 5;
  HostMatrix host(rows, columns, true);
  const Numbers weights = weights_of_rounded_values(host);
  const Nf4Matrix w = host.on(host.packed.data(), host.scales(host.absmax, host.outer, host.codes, host.map));
  Numbers x = Random().normal(tokens * columns);
  for (int64_t c = 0; c < columns; ++c) {
    x[size_t(2 * columns + c)] *= c < 64 ? 0x1p-120 : 0x1p100;
    x[size_t(3 * columns + c)] *= c % 7 == 0 ? 0x1p9 : 1;
  }
  x[5] = std::numeric_limits<double>::quiet_NaN(), x[columns + 70] = -std::numeric_limits<double>::infinity();
  const auto in = stored<BFloat16>(x);
  x = seen<BFloat16>(in);
  std::vector<BFloat16::Stored> y(size_t(tokens * rows));
  nf4_product({}, w, tokens, Element::bfloat16, in.data(), y.data());
  const Numbers got = seen<BFloat16>(y);
  for (int64_t i = 0; i < 2 * rows; ++i) EXPECT_FALSE(std::isfinite(got[size_t(i)])) << i;
  for (int64_t i = 2 * rows; i < tokens * rows; ++i) {
    const double *const its = &x[size_t(i / rows * columns)], *const row = &weights[size_t(i % rows * columns)];
    double sum = 0, bound = 0;
    for (int64_t c = 0; c < columns; ++c) {
      double largest = 0;
      for (int64_t b = c / 64 * 64; b < c / 64 * 64 + 64; ++b) largest = std::max(largest, std::abs(its[b]));
      sum += row[c] * its[c];
      bound += (64 * BFloat16::operation * std::abs(its[c]) + 0x1p-15 * largest) * std::abs(row[c]);
    }
    EXPECT_NEAR(got[size_t(i)], sum, BFloat16::storage * std::abs(sum) + bound) << i;
  }
}

// The same bits for a token whatever is beside it; rows that are whole blocks, an odd number of them too, and others.
template <class E>
void expect_each_alone() {
  for (const int64_t columns : {128, 192, 100}) {
    const HostMatrix w(7, columns, true);
    const Nf4Matrix matrix = w.on(w.packed.data(), w.scales(w.absmax, w.outer, w.codes, w.map));
    const auto x = stored<E>(Random().normal(11 * columns));
    std::vector<typename E::Stored> all(11 * 7), alone(7);
    nf4_product({}, matrix, 11, E::element, x.data(), all.data());
    for (int64_t n = 0; n < 11; ++n) {
      nf4_product({}, matrix, 1, E::element, x.data() + n * columns, alone.data());
      EXPECT_EQ(alone, std::vector(all.begin() + n * 7, all.begin() + (n + 1) * 7)) << columns << " columns, token " << n;
    }
  }
}
TEST(Nf4Product, GivesATokenTheSameBitsWhateverIsBesideIt) {
  at_every_level([] { expect_each_alone<Float32>(), expect_each_alone<BFloat16>(); });
  expect_each_alone<BFloat16>();
}

// Any rows of it by one thread, between those of another matrix.
template <class E>
void expect_parts() {
  const HostMatrix w(7, 192, true);
  const Nf4Matrix matrix = w.on(w.packed.data(), w.scales(w.absmax, w.outer, w.codes, w.map));
  for (const int64_t tokens : {1, 3, 11}) {
    const auto x = stored<E>(Random().normal(tokens * 192));
    std::vector<typename E::Stored> whole(size_t(tokens * 7)), parts(size_t(tokens * 9));
    nf4_product({}, matrix, tokens, E::element, x.data(), whole.data());
    for (const auto& [first, end] : {Shape{0, 3}, Shape{3, 3}, Shape{3, 7}}) {
      nf4_product_part(matrix, tokens, E::element, x.data(), parts.data() + 1, 9, first, end);
    }
    for (int64_t n = 0; n < tokens; ++n) {
      EXPECT_EQ(std::vector(parts.begin() + n * 9 + 1, parts.begin() + n * 9 + 8),
                std::vector(whole.begin() + n * 7, whole.begin() + n * 7 + 7)) << tokens << " tokens";
      EXPECT_EQ(parts[size_t(n * 9)], 0) << "beside it";
    }
  }
}
TEST(Nf4Product, PartsHaveTheBitsOfTheWhole) {
  at_every_level([] { expect_parts<Float32>(), expect_parts<BFloat16>(); });
  expect_parts<BFloat16>();
}

TEST(Nf4Product, IsTheSameOnAnyNumberOfThreads) {
  const HostMatrix host(37, 640, true);
  const std::vector<float> x = as<float>(Random().normal(3 * host.columns));
  std::vector<float> one(3 * 37), three(one.size());
  HostMatrix w = host;
  const Nf4Matrix matrix = w.on(w.packed.data(), w.scales(w.absmax, w.outer, w.codes, w.map));
  nf4_product({}, matrix, 3, Element::float32, x.data(), one.data());
  with_threads(3, [&] { nf4_product({}, matrix, 3, Element::float32, x.data(), three.data()); });
  EXPECT_EQ(one, three);
}

}  // namespace
}  // namespace braid::kernels
