// SPDX-License-Identifier: Apache-2.0
// What products of few tokens and whole decode steps must hold, for the GPU and for its code run on the host (a Twin each).
#pragma once

#include <array>
#include <memory>
#include <numeric>

#include "kernels/decode_step_cuda.h"
#include "kernels/dynamic_map.h"
#include "kernels/paged_attention_cuda.h"
#include "kernels/row_products_cuda.h"
#include "support.h"

namespace braid::kernels::test {

struct Twin {
  Launch launch;
  decltype(&row_product_cuda) row_product;
  decltype(&gated_product_cuda) gated_product;
  decltype(&turned_product_cuda) turned_product;
  decltype(&decode_step_cuda) decode_step;
  decltype(&decode_scratch_bytes_cuda) decode_scratch_bytes;
  decltype(&store_paged_cuda) store_paged;
  decltype(&paged_attention_cuda) paged_attention;
  decltype(&paged_scratch_bytes_cuda) paged_scratch_bytes;
};

// A matrix of random numbers where a twin runs: dense, or its rows in so many matrices of NF4, every second of them with absmax
// that are quantised too.
template <class E>
class RandomMatrix {
 public:
  RandomMatrix(Place place, int64_t rows, int64_t columns, std::vector<int64_t> quantised_rows, Random& random,
               double deviation = 1) {
    matrix_.rows = rows, matrix_.columns = columns;
    const Numbers all = random.normal(rows * columns, deviation);
    if (quantised_rows.empty()) {
      dense_ = std::make_unique<Placed<typename E::Stored>>(place, stored<E>(all));
      weights = rounded<E>(all);
      matrix_.dense = dense_->data();
      return;
    }
    auto from = all.begin();
    for (const int64_t count : quantised_rows) {
      quantise(place, count, std::vector<float>(from, from + count * columns));
      from += count * columns;
    }
  }

  const DecodeMatrix& matrix() const { return matrix_; }
  double at(int64_t row, int64_t column) const { return weights[size_t(row * matrix_.columns + column)]; }

  Numbers weights;  // as the kernel sees them

 private:
  void quantise(Place place, int64_t rows, const std::vector<float>& x) {
    const int64_t count = rows * matrix_.columns;
    std::vector<uint8_t> packed(size_t(nf4_bytes(count))), codes(size_t(nf4_blocks(count)));
    std::vector<float> absmax(codes.size()), outer(size_t(nf4_nested_blocks(count)));
    nf4_quantise({}, count, Element::float32, x.data(), packed.data(), absmax.data());
    const std::vector<float> map(signed_dynamic_map().value.begin(), signed_dynamic_map().value.end());
    const bool nested = matrix_.quantised.size() % 2 == 1;
    if (nested) nf4_nest({}, int64_t(codes.size()), absmax.data(), 2.5f, codes.data(), outer.data());
    Nf4Scales here = nested ? Nf4Scales{outer.data(), codes.data(), map.data(), 2.5f} : Nf4Scales{absmax.data()};
    std::vector<float> dense(x.size());
    const Nf4Matrix on_host{rows, matrix_.columns, packed.data(), here};
    nf4_dequantise({}, on_host, {0, rows, 0, matrix_.columns}, Element::float32, dense.data());
    weights.insert(weights.end(), dense.begin(), dense.end());
    bytes_.push_back(std::make_unique<Placed<uint8_t>>(place, packed));
    Nf4Matrix there{rows, matrix_.columns, bytes_.back()->data(), here};
    floats_.push_back(std::make_unique<Placed<float>>(place, nested ? outer : absmax));
    there.scales.absmax = floats_.back()->data();
    if (nested) {
      bytes_.push_back(std::make_unique<Placed<uint8_t>>(place, codes));
      floats_.push_back(std::make_unique<Placed<float>>(place, map));
      there.scales.codes = bytes_.back()->data(), there.scales.map = floats_.back()->data();
    }
    matrix_.quantised.push_back(there);
  }

  DecodeMatrix matrix_;
  std::unique_ptr<Placed<typename E::Stored>> dense_;
  std::vector<std::unique_ptr<Placed<uint8_t>>> bytes_;
  std::vector<std::unique_ptr<Placed<float>>> floats_;
};

struct ProductShape {
  int64_t rows, columns;
  std::vector<int64_t> quantised;
};

// Sums of one token in double, and of what their terms come to.
struct DoubleSums {
  Numbers value, magnitude;
};
template <class E>
DoubleSums double_sums(const RandomMatrix<E>& w, const Numbers& x) {
  DoubleSums sums;
  for (int64_t row = 0; row < w.matrix().rows; ++row) {
    double sum = 0, magnitude = 0;
    for (int64_t column = 0; column < w.matrix().columns; ++column) {
      const double term = w.at(row, column) * x[size_t(column)];
      sum += term, magnitude += std::abs(term);
    }
    sums.value.push_back(sum), sums.magnitude.push_back(magnitude);
  }
  return sums;
}

struct Expected {
  Numbers value, bound;
  void add(double x, double allowed) { value.push_back(x), bound.push_back(allowed); }
};

// What the three products make of one token's sums; cosine and sine [width] are its own.
template <class E>
struct TokenProducts {
  Expected plain, gated, heads;

  TokenProducts(const DoubleSums& sums, const Numbers& bias, const double* cosine, const double* sine, int64_t width,
                int64_t turned) {
    const Numbers& y = sums.value;
    const auto rows = std::ssize(y), half = rows / 2;
    const auto noise = [&](int64_t row) {
      return E::storage * std::abs(y[size_t(row)]) + 16 * E::operation * sums.magnitude[size_t(row)];
    };
    for (int64_t row = 0; row < rows; ++row) {
      const double shifted = y[size_t(row)] + bias[size_t(row)];
      plain.add(shifted, 2 * noise(row) + E::storage * std::abs(shifted) + 1e-6);
      const int64_t c = row % width, other = c < width / 2 ? row + width / 2 : row - width / 2;
      const bool turns = row < turned * width;
      const double cos = turns ? cosine[c] : 1, sin = turns ? sine[c] * (c < width / 2 ? -1 : 1) : 0;
      const double head = y[size_t(row)] * cos + (turns ? y[size_t(other)] * sin : 0);
      const double turned_noise = noise(row) * std::abs(cos) + (turns ? noise(other) * std::abs(sin) : 0);
      heads.add(head, 2 * turned_noise + 2 * E::storage * std::abs(head) + 1e-6);
    }
    for (int64_t row = 0; row < half; ++row) {
      const double gate = y[size_t(row)], up = y[size_t(half + row)], silu = gate / (1 + std::exp(-gate));
      const double carried = noise(row) * std::abs(up) + noise(half + row) * std::abs(silu);
      gated.add(silu * up, 2.2 * carried + 4 * E::storage * std::abs(silu * up) + 1e-5);
    }
  }
};

// The three products of a few tokens, token after token against sums in double, and bit by bit against each token alone.
template <class E>
void expect_products(const Twin& twin, const ProductShape& shape, int64_t tokens, int64_t width) {
  SCOPED_TRACE(str(tokens, " tokens, ", shape.rows, " x ", shape.columns, ", ", shape.quantised.size(), " in NF4"));
  using Stored = typename E::Stored;
  Random random;
  const Place place = twin.launch.place;
  const int64_t rows = shape.rows, half = rows / 2, turned = rows / width - 1;
  const RandomMatrix<E> w(place, rows, shape.columns, shape.quantised, random);
  const Numbers x = rounded<E>(random.normal(tokens * shape.columns)), b = rounded<E>(random.normal(rows));
  const Numbers cosine = rounded<Float32>(random.normal(tokens * width)), sine = rounded<Float32>(random.normal(tokens * width));
  Placed given(place, stored<E>(x)), bias(place, stored<E>(b));
  Placed cosines(place, as<float>(cosine)), sines(place, as<float>(sine));
  const auto run = [&](int64_t first, int64_t count) {
    Placed plain(place, std::vector<Stored>(size_t(count * rows))), heads(place, std::vector<Stored>(size_t(count * rows)));
    Placed gated(place, std::vector<Stored>(size_t(count * half)));
    const RowProduct product{w.matrix(), count, E::element, given.data() + first * shape.columns};
    twin.row_product(twin.launch, product, bias.data(), plain.data());
    twin.gated_product(twin.launch, product, gated.data());
    twin.turned_product(twin.launch, product, width, turned, cosines.data() + first * width, sines.data() + first * width,
                        heads.data());
    return std::array{plain.values(), gated.values(), heads.values()};
  };
  const auto together = run(0, tokens);
  const auto of_token = [&](size_t which, int64_t n) {
    const int64_t size = which == 1 ? half : rows;
    return std::vector<Stored>(together[which].begin() + n * size, together[which].begin() + (n + 1) * size);
  };
  for (int64_t n = 0; n < tokens; ++n) {
    const Numbers own(x.begin() + n * shape.columns, x.begin() + (n + 1) * shape.columns);
    const TokenProducts<E> expected(double_sums(w, own), b, &cosine[size_t(n * width)], &sine[size_t(n * width)], width, turned);
    const Expected* const all[] = {&expected.plain, &expected.gated, &expected.heads};
    const char* const names[] = {"plain", "gated", "turned"};
    for (size_t which = 0; which < 3; ++which) {
      const Numbers got = seen<E>(of_token(which, n));
      ASSERT_NO_FATAL_FAILURE(expect_near(got, all[which]->value, all[which]->bound, names[which]));
    }
    if (n % 4 != tokens % 4) continue;
    const auto alone = run(n, 1);
    for (size_t which = 0; which < 3; ++which) EXPECT_EQ(alone[which], of_token(which, n)) << "token " << n;
  }
}

// Layers of random weights for a few tokens of two texts, beside the CPU's.
template <class E>
class DecodeCase {
 public:
  DecodeCase(int64_t rows, int64_t head_width, int64_t mlp_width, bool quantised, int64_t before)
      : shape{rows, 4 * head_width, 4, 2, head_width, mlp_width, 1e-5}, quantised(quantised) {
    for (int64_t r = 0; r < rows; ++r) this->rows.push_back({r % 2, before + r / 2});  // two texts, their tokens by turns
    paged = {rows, 4, 2, head_width, 4, (before + rows) / 4 + 2, before + (rows + 1) / 2};
    for (int64_t i = 0; i < 2 * paged.table_width; ++i) tables.push_back(2 * paged.table_width - 1 - i);
    x = random.normal(rows * shape.width);
    cosine = random.normal(rows * head_width), sine = random.normal(rows * head_width);
    pool = random.normal(2 * paged.table_width * 2 * head_width * 4);
  }

  // The step on a Twin, or on CPUs with none.
  Numbers run(const Twin* twin) const {
    const Place place = twin ? twin->launch.place : Place::cpu;
    Random same(7);
    std::vector<RandomMatrix<E>> matrices;
    std::vector<std::unique_ptr<Placed<float>>> norms;
    std::vector<DecodeLayer> layers;
    const int64_t d = shape.head_width, D = shape.width, F = shape.mlp_width;
    matrices.reserve(8);
    const auto matrix = [&](int64_t out, int64_t in, std::vector<int64_t> parts) {
      if (!quantised) parts.clear();
      return matrices.emplace_back(place, out, in, parts, same, 1 / std::sqrt(double(in))).matrix();
    };
    const auto norm = [&] { return norms.emplace_back(std::make_unique<Placed<float>>(place, as<float>(same.normal(D))))->data(); };
    for (int layer = 0; layer < 2; ++layer) {
      const float *first = norm(), *second = norm();
      layers.push_back({first, second, matrix(8 * d, D, {4 * d, 2 * d, 2 * d}), matrix(D, 4 * d, {D}), matrix(2 * F, D, {F, F}),
                        matrix(D, F, {D})});
    }
    Placed keys(place, stored<E>(pool)), values(place, stored<E>(pool));
    Placed where(place, rows);
    Placed table(place, tables);
    Placed c(place, as<float>(cosine)), s(place, as<float>(sine)), stream(place, as<float>(x));
    const auto inputs = [&](const void* packed) { return PagedInputs{packed, where.data(), table.data()}; };
    Placed scratch(place, std::vector<char>(size_t(twin ? twin->decode_scratch_bytes(E::element, shape) : 0) + 256));
    Placed parts(place, std::vector<double>(size_t(twin ? twin->paged_scratch_bytes(paged, E::element) : 0) / 8 + 1));
    const DecodeAttention attention{
        [&](int64_t, const void* packed, DecodeThread thread) {
          const PagedInputs in = inputs(packed);
          if (twin) return twin->store_paged(twin->launch, paged, E::element, in, keys.data(), values.data());
          if (thread.index == 0) store_paged({}, paged, E::element, in, keys.data(), values.data());
        },
        [&](int64_t, const void* packed, void* out, DecodeThread thread) {
          const PagedInputs in = inputs(packed);
          if (twin) {
            return twin->paged_attention(twin->launch, paged, E::element, in, keys.data(), values.data(), out, parts.data());
          }
          paged_attention_part(paged, E::element, in, keys.data(), values.data(), out, thread.index, thread.count);
        }};
    float* const y = stream.data();
    if (twin) twin->decode_step(twin->launch, E::element, shape, layers, c.data(), s.data(), attention, y, scratch.data());
    else decode_step({}, E::element, shape, layers, c.data(), s.data(), attention, y, nullptr);
    return seen<Float32>(stream.values());
  }

  Random random;
  DecodeShape shape;
  bool quantised;
  PagedShape paged{};
  std::vector<PagedRow> rows;
  std::vector<int64_t> tables;
  Numbers x, cosine, sine, pool;
};

// bfloat16 differs where a sum lies between two of its numbers.
template <class E>
void expect_steps_of_cpus(const Twin& twin, int64_t rows, int64_t head_width, int64_t mlp_width, bool quantised,
                          int64_t before) {
  SCOPED_TRACE(str(rows, " rows behind ", before, quantised ? ", NF4" : ", dense"));
  const DecodeCase<E> given(rows, head_width, mlp_width, quantised, before);
  const Numbers expected = given.run(nullptr), got = given.run(&twin);
  double most = 0;
  for (const double value : expected) most = std::max(most, std::abs(value));
  const double share = E::element == Element::float32 ? 1e-5 : 0.03;
  expect_near(got, expected, Numbers(expected.size(), share * most), "x");
}

}  // namespace braid::kernels::test
