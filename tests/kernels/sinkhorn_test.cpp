// SPDX-License-Identifier: Apache-2.0
// The Sinkhorn projection against the plain formula in double, the published initial values, and central differences.
#include "kernels/sinkhorn.h"

#include <limits>

#include "support.h"

namespace braid::kernels {
namespace {

using namespace test;
using enum SinkhornOrder;

// Divides rows or columns of one matrix by max(sum, 1e-12); the plain formula in type A.
template <class A>
void normalise(std::vector<A>& m, int64_t n, bool rows) {
  for (int64_t line = 0; line < n; ++line) {
    const auto entry = [&](int64_t i) -> A& { return m[size_t(rows ? line * n + i : i * n + line)]; };
    A sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += entry(i);
    if (sum < A(1e-12)) sum = A(1e-12);
    for (int64_t i = 0; i < n; ++i) entry(i) /= sum;
  }
}

template <class A>
std::vector<A> plain(const std::vector<A>& logits, const SinkhornShape& shape) {
  const int64_t entries = shape.streams * shape.streams;
  std::vector<A> all;
  for (int64_t matrix = 0; matrix < shape.matrices; ++matrix) {
    std::vector<A> m(logits.begin() + matrix * entries, logits.begin() + (matrix + 1) * entries);
    for (A& x : m) x = std::exp(x);
    for (int64_t k = 0; k < shape.iterations; ++k) {
      normalise(m, shape.streams, shape.order == row_then_column);
      normalise(m, shape.streams, shape.order != row_then_column);
    }
    all.insert(all.end(), m.begin(), m.end());
  }
  return all;
}

template <class E>
std::vector<typename E::Stored> kernel(Place place, const Numbers& logits, const SinkhornShape& shape) {
  Placed in(place, stored<E>(logits)), H(place, stored<E>(logits));
  sinkhorn({place}, shape, E::element, in.data(), H.data());
  return H.values();
}

template <class E>
std::vector<typename E::Stored> kernel_backward(Place place, const Numbers& logits, const Numbers& dH,
                                                const SinkhornShape& shape) {
  Placed in(place, stored<E>(logits)), gradient(place, stored<E>(dH)), out(place, stored<E>(dH));
  sinkhorn_backward({place}, shape, E::element, in.data(), gradient.data(), out.data());
  return out.values();
}

std::vector<SinkhornShape> shapes() {
  std::vector<SinkhornShape> all;
  for (const SinkhornOrder order : {row_then_column, column_then_row}) {
    for (const int64_t iterations : {0, 1, 5, 20, 100}) {
      for (const int64_t streams : {1, 2, 3, 4, 5, 8}) all.push_back({7, streams, iterations, order});
    }
    all.push_back({1, 4, 20, order});
    all.push_back({200, 4, 20, order});
  }
  return all;
}

std::string describe(const SinkhornShape& shape) {
  return str("N ", shape.matrices, " S ", shape.streams, " K ", shape.iterations, " order ", int(shape.order));
}

// In float32 each of 2 K normalisations may leave an error of a few ulps, which the next one mostly divides out again.
template <class E>
void expect_formula(Place place, double relative) {
  Random random;
  for (const SinkhornShape& shape : shapes()) {
    SCOPED_TRACE(describe(shape));
    const Numbers logits = rounded<E>(random.normal(shape.matrices * shape.streams * shape.streams, 2.0));
    const Numbers expected = plain(logits, shape);
    Numbers bound;
    for (const double x : expected) bound.push_back(relative * x);
    ASSERT_NO_FATAL_FAILURE(expect_near(kernel<E>(place, logits, shape), expected, bound, "H"));
  }
}

// d<dH, H>/d logits by central differences of the plain formula (error h^2 = 1e-10 in double).
Numbers differences(Numbers logits, const Numbers& dH, const SinkhornShape& shape) {
  const double h = 1e-5;
  const auto objective = [&] {
    const Numbers H = plain(logits, shape);
    double sum = 0;
    for (size_t i = 0; i < H.size(); ++i) sum += dH[i] * H[i];
    return sum;
  };
  Numbers out;
  for (double& x : logits) {
    const double kept = x;
    x = kept + h;
    const double above = objective();
    x = kept - h;
    out.push_back((above - objective()) / (2 * h));
    x = kept;
  }
  return out;
}

template <class E>
void expect_gradients(Place place, double tolerance) {
  Random random;
  for (SinkhornShape shape : shapes()) {
    if (shape.matrices > 7) continue;
    shape.matrices = 2;
    SCOPED_TRACE(describe(shape));
    const int64_t count = shape.matrices * shape.streams * shape.streams;
    const Numbers logits = rounded<E>(random.normal(count)), dH = rounded<E>(random.normal(count));
    const Numbers expected = differences(logits, dH, shape);
    Numbers bound;
    for (const double x : expected) bound.push_back(tolerance * (1 + std::abs(x)));
    ASSERT_NO_FATAL_FAILURE(expect_near(kernel_backward<E>(place, logits, dH, shape), expected, bound, "dlogits"));
  }
}

// The initial logits 2 I - 1 of the poc form; the values are its published ones.
void expect_initial_values(Place place) {
  Numbers logits(16, -1.0);
  for (size_t i = 0; i < 16; i += 5) logits[i] = 1.0;
  const std::vector<float> H = kernel<Float32>(place, logits, {1, 4, 20});
  for (size_t i = 0; i < 16; ++i) EXPECT_NEAR(H[i], i % 5 == 0 ? 0.711235 : 0.096255, 1e-6);
}

// The side that is normalised last sums to 1; after 100 iterations on mild logits both do.
void expect_sums(Place place) {
  Random random;
  for (const SinkhornOrder order : {row_then_column, column_then_row}) {
    for (const int64_t iterations : {1, 5, 20, 100}) {
      const Numbers logits = rounded<Float32>(random.normal(50 * 16));
      const std::vector<float> H = kernel<Float32>(place, logits, {50, 4, iterations, order});
      for (size_t matrix = 0; matrix < 50; ++matrix) {
        for (size_t line = 0; line < 4; ++line) {
          double row = 0, column = 0;
          for (size_t i = 0; i < 4; ++i) row += H[matrix * 16 + line * 4 + i], column += H[matrix * 16 + i * 4 + line];
          const bool column_last = order == row_then_column;
          EXPECT_NEAR(column_last ? column : row, 1.0, 1e-6);
          EXPECT_NEAR(column_last ? row : column, 1.0, iterations == 100 ? 1e-5 : 1.0);
        }
      }
    }
  }
}

// exp overflows beyond 88.7: the plain formula gives infinity, then NaN, and so must the kernel, entry by entry. Sums
// below 1e-12 (logits of -60, -200) are clamped, not divided by.
void expect_extremes(Place place) {
  const double infinite = std::numeric_limits<double>::infinity();
  for (const SinkhornOrder order : {row_then_column, column_then_row}) {
    for (const double extreme : {89.0, 88.0, -60.0, -200.0, infinite, -infinite, std::nan("")}) {
      for (const int64_t streams : {1, 3, 4}) {
        for (const int64_t iterations : {0, 1, 2, 20}) {
          SCOPED_TRACE(str("logit ", extreme, " S ", streams, " K ", iterations, " order ", int(order)));
          Numbers logits(size_t(streams * streams), extreme < 0 ? extreme : 0.5);
          logits[size_t(streams - 1)] = extreme;
          const SinkhornShape shape{1, streams, iterations, order};
          const std::vector<float> expected = plain(stored<Float32>(logits), shape);
          const std::vector<float> got = kernel<Float32>(place, logits, shape);
          for (size_t i = 0; i < got.size(); ++i) {
            if (std::isnan(expected[i])) EXPECT_TRUE(std::isnan(got[i])) << got[i];
            else if (std::isinf(expected[i])) EXPECT_EQ(got[i], expected[i]);
            else EXPECT_NEAR(got[i], expected[i], 1e-5 * std::abs(expected[i]));
          }
        }
      }
    }
  }
}

// Where the sum is clamped the divisor is a constant: dlogits = dH exp(a) 1e24 for one entry and one iteration.
void expect_clamped_gradient(Place place) {
  const Numbers logits = {-60.0}, dH = {1.0};
  const SinkhornShape shape{1, 1, 1, row_then_column};
  const double H = plain(logits, shape)[0];  // exp(-60) / 1e-12 / 1e-12
  EXPECT_NEAR(kernel_backward<Float64>(place, logits, dH, shape)[0] / H, 1.0, 1e-12);
}

TEST(Sinkhorn, FollowsTheFormulaInFloat32) { expect_formula<Float32>(Place::cpu, 1e-5); }
TEST(Sinkhorn, FollowsTheFormulaInFloat64) { expect_formula<Float64>(Place::cpu, 1e-13); }
TEST(Sinkhorn, GradientsInFloat64AreCentralDifferences) { expect_gradients<Float64>(Place::cpu, 1e-8); }
TEST(Sinkhorn, GradientsInFloat32AreCentralDifferences) { expect_gradients<Float32>(Place::cpu, 2e-5); }
TEST(Sinkhorn, InitialValuesAreThePublishedOnes) { expect_initial_values(Place::cpu); }
TEST(Sinkhorn, TheSideNormalisedLastSumsToOne) { expect_sums(Place::cpu); }
TEST(Sinkhorn, OverflowsAndClampsAsThePlainFormula) { expect_extremes(Place::cpu); }
TEST(Sinkhorn, ClampedSumsPassTheGradientOfAConstantDivisor) { expect_clamped_gradient(Place::cpu); }

TEST(SinkhornGpu, FollowsTheFormulaInFloat32) {
  REQUIRE_DEVICE();
  expect_formula<Float32>(Place::cuda, 1e-5);
}
TEST(SinkhornGpu, FollowsTheFormulaInFloat64) {
  REQUIRE_DEVICE();
  expect_formula<Float64>(Place::cuda, 1e-13);
}
TEST(SinkhornGpu, GradientsInFloat64AreCentralDifferences) {
  REQUIRE_DEVICE();
  expect_gradients<Float64>(Place::cuda, 1e-8);
}
TEST(SinkhornGpu, GradientsInFloat32AreCentralDifferences) {
  REQUIRE_DEVICE();
  expect_gradients<Float32>(Place::cuda, 2e-5);
}
TEST(SinkhornGpu, InitialValuesAreThePublishedOnes) {
  REQUIRE_DEVICE();
  expect_initial_values(Place::cuda);
}
TEST(SinkhornGpu, TheSideNormalisedLastSumsToOne) {
  REQUIRE_DEVICE();
  expect_sums(Place::cuda);
}
TEST(SinkhornGpu, OverflowsAndClampsAsThePlainFormula) {
  REQUIRE_DEVICE();
  expect_extremes(Place::cuda);
}
TEST(SinkhornGpu, ClampedSumsPassTheGradientOfAConstantDivisor) {
  REQUIRE_DEVICE();
  expect_clamped_gradient(Place::cuda);
}

TEST(Sinkhorn, ManyMatricesGiveTheSameBitsForEveryNumberOfThreads) {
  Random random;
  const SinkhornShape shape{300, 4, 20};
  const Numbers logits = random.normal(300 * 16), dH = random.normal(300 * 16);
  std::vector<float> H, gradient;
  with_threads(1, [&] {
    H = kernel<Float32>(Place::cpu, logits, shape);
    gradient = kernel_backward<Float32>(Place::cpu, logits, dH, shape);
  });
  for (const int threads : {2, 4}) {
    with_threads(threads, [&] {
      EXPECT_EQ(kernel<Float32>(Place::cpu, logits, shape), H);
      EXPECT_EQ(kernel_backward<Float32>(Place::cpu, logits, dH, shape), gradient);
    });
  }
}

TEST(Sinkhorn, RefusesBFloat16AndMoreStreamsThanEight) {
  float x = 0;
  EXPECT_THROW(sinkhorn({}, {1, 1, 1}, Element::bfloat16, &x, &x), Error);
  EXPECT_THROW(sinkhorn({}, {1, 9, 1}, Element::float32, &x, &x), Error);
}

}  // namespace
}  // namespace braid::kernels
