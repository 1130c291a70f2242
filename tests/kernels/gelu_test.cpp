// SPDX-License-Identifier: Apache-2.0
// GELU and its slope against the C library's erfc in double, in every stored type, at every instruction set, and the CUDA
// twin by the same body.
#include "kernels/gelu.h"

#include "support.h"

namespace braid::kernels {
namespace {

using namespace test;

double distribution(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }
double slope_at(double x) { return distribution(x) + x * std::exp(-0.5 * x * x) / std::sqrt(2 * M_PI); }

struct Result {
  Numbers y, slope, dx;
};

template <class E>
Result kernel(Place place, const Numbers& x, const Numbers& dy) {
  Placed in(place, stored<E>(x)), y(place, stored<E>(x)), slope(place, stored<E>(x));
  Placed gradient(place, stored<E>(dy)), dx(place, stored<E>(x));
  const int64_t count = int64_t(x.size());
  gelu({place}, count, E::element, in.data(), y.data(), slope.data());
  gelu_backward({place}, count, E::element, gradient.data(), slope.data(), dx.data());
  return {seen<E>(y.values()), seen<E>(slope.values()), seen<E>(dx.values())};
}

// From -40 to 40, where the tail is 0 or 1 in every type, and random numbers; not a whole number of vectors.
Numbers arguments() {
  Random random;
  Numbers x = random.normal(9001, 3.0);
  for (int i = -400; i <= 400; ++i) x.push_back(i / 10.0);
  return x;
}

// Below the smallest normal numbers relative errors end.
constexpr double tiny = 1e-37;

// The arguments of exponential and erfc are rounded, here and in the reference: an error of x^2 relative to the tail.
template <class E>
void expect_formula(Place place) {
  const Numbers x = rounded<E>(arguments());
  Random random;
  const Numbers dy = rounded<E>(random.normal(int64_t(x.size())));
  const Result got = kernel<E>(place, x, dy);
  Numbers y, slope, dx, y_bound, slope_bound, dx_bound;
  for (size_t i = 0; i < x.size(); ++i) {
    const double p = distribution(x[i]), tail = std::min(p, 1 - p), noise = E::operation * (4 * p + (8 + 3 * x[i] * x[i]) * tail);
    y.push_back(x[i] * p);
    slope.push_back(slope_at(x[i]));
    dx.push_back(dy[i] * got.slope[i]);
    y_bound.push_back(E::storage * std::abs(y[i]) + 2 * std::abs(x[i]) * noise + tiny);
    slope_bound.push_back(E::storage * std::abs(slope[i]) + 4 * (1 + x[i] * x[i]) * noise + tiny);
    dx_bound.push_back(2 * E::storage * std::abs(dx[i]) + tiny);
  }
  expect_near(got.y, y, y_bound, "y");
  expect_near(got.slope, slope, slope_bound, "slope");
  expect_near(got.dx, dx, dx_bound, "dx");
}

TEST(Gelu, FollowsTheFormulaInFloat32AtEveryInstructionSet) {
  at_every_level([] { expect_formula<Float32>(Place::cpu); });
}
TEST(Gelu, FollowsTheFormulaInBFloat16AtEveryInstructionSet) {
  at_every_level([] { expect_formula<BFloat16>(Place::cpu); });
}
TEST(Gelu, FollowsTheFormulaInFloat64AtEveryInstructionSet) {
  at_every_level([] { expect_formula<Float64>(Place::cpu); });
}
TEST(GeluGpu, FollowsTheFormulaInFloat32) {
  REQUIRE_DEVICE();
  expect_formula<Float32>(Place::cuda);
}
TEST(GeluGpu, FollowsTheFormulaInBFloat16) {
  REQUIRE_DEVICE();
  expect_formula<BFloat16>(Place::cuda);
}
TEST(GeluGpu, FollowsTheFormulaInFloat64) {
  REQUIRE_DEVICE();
  expect_formula<Float64>(Place::cuda);
}

void expect_central_differences(Place place) {
  const Numbers x = {-3.0, -0.75, -1e-3, 0.0, 0.4, 2.5, 6.0}, ones(x.size(), 1.0);
  const double h = 1e-5;
  Numbers above = x, below = x;
  for (size_t i = 0; i < x.size(); ++i) above[i] += h, below[i] -= h;
  const Result up = kernel<Float64>(place, above, ones), down = kernel<Float64>(place, below, ones);
  const Result got = kernel<Float64>(place, x, ones);
  for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(got.dx[i], (up.y[i] - down.y[i]) / (2 * h), 1e-9) << x[i];
}
TEST(Gelu, SlopesAreCentralDifferences) { expect_central_differences(Place::cpu); }
TEST(GeluGpu, SlopesAreCentralDifferences) {
  REQUIRE_DEVICE();
  expect_central_differences(Place::cuda);
}

TEST(Gelu, NaNStaysNaNAndInfinityIsItself) {
  at_every_level([] {
    const Numbers x = {std::nan(""), INFINITY, 1.0}, dy(3, 1.0);
    const Result got = kernel<Float32>(Place::cpu, x, dy);
    EXPECT_TRUE(std::isnan(got.y[0]));
    EXPECT_TRUE(std::isnan(got.slope[0]));
    EXPECT_EQ(got.y[1], INFINITY);
    EXPECT_FALSE(std::isnan(got.y[2]));
  });
}

TEST(Gelu, SlopesNeedNotBeAskedFor) {
  const std::vector<float> x = {0.5f, -1.0f};
  std::vector<float> y(2);
  gelu({Place::cpu}, 2, Element::float32, x.data(), y.data(), nullptr);
  EXPECT_NEAR(y[0], 0.5 * distribution(0.5), 1e-7);
}

}  // namespace
}  // namespace braid::kernels
