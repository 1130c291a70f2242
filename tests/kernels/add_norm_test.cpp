// SPDX-License-Identifier: Apache-2.0
// The joined residual and its norm against the plain formulas in double: layer and RMS norm, with and without a term to
// join, forward and backward, in every stored type, at every instruction set, and the CUDA twin by the same body.
#include "kernels/add_norm.h"

#include "support.h"

namespace braid::kernels {
namespace {

using namespace test;

struct Problem {
  int64_t rows, width;
  bool layer, joins, passes;  // layer norm rather than RMS; f is there; du is there
  Numbers x, f, weight, bias, dy, du;
  double epsilon = 1e-5;
};

template <class E>
Problem random_problem(int64_t rows, int64_t width, int kind, Random& random) {
  using A = typename E::Coefficient;
  Problem p{rows, width, (kind & 1) != 0, (kind & 2) != 0, (kind & 4) != 0, {}, {}, {}, {}, {}, {}};
  const auto wide = [&](int64_t count) { return rounded_to<A>(random.normal(count)); };
  p.x = wide(rows * width);
  p.f = p.joins ? rounded<E>(random.normal(rows * width)) : Numbers(size_t(rows * width));
  p.weight = wide(width);
  p.bias = wide(width);
  p.dy = rounded<E>(random.normal(rows * width));
  p.du = p.passes ? wide(rows * width) : Numbers(size_t(rows * width));
  return p;
}

struct Result {
  Numbers u, y, dx, df, dweight, dbias;
};

Result plain(const Problem& p) {
  Result r;
  r.u = p.x;
  for (size_t i = 0; i < r.u.size(); ++i) r.u[i] += p.f[i];
  r.y = r.dx = Numbers(r.u.size());
  r.dweight = r.dbias = Numbers(size_t(p.width), 0.5);  // what was there is added to
  const double D = double(p.width);
  for (int64_t row = 0; row < p.rows; ++row) {
    const size_t at = size_t(row * p.width);
    double mean = 0, square = 0, mean_g = 0, mean_gn = 0;
    for (size_t d = 0; d < size_t(p.width); ++d) mean += p.layer ? r.u[at + d] / D : 0;
    for (size_t d = 0; d < size_t(p.width); ++d) square += (r.u[at + d] - mean) * (r.u[at + d] - mean) / D;
    const double rstd = 1 / std::sqrt(square + p.epsilon);
    for (size_t d = 0; d < size_t(p.width); ++d) {
      const double n = (r.u[at + d] - mean) * rstd, g = p.dy[at + d] * p.weight[d];
      r.y[at + d] = n * p.weight[d] + (p.layer ? p.bias[d] : 0);
      mean_g += p.layer ? g / D : 0;
      mean_gn += g * n / D;
      r.dweight[d] += p.dy[at + d] * n;
      r.dbias[d] += p.dy[at + d];
    }
    for (size_t d = 0; d < size_t(p.width); ++d) {
      const double n = (r.u[at + d] - mean) * rstd;
      r.dx[at + d] = p.du[at + d] + rstd * (p.dy[at + d] * p.weight[d] - mean_g - n * mean_gn);
    }
  }
  r.df = r.dx;
  return r;
}

template <class E>
Result kernel(Place place, const Problem& p) {
  using A = typename E::Coefficient;
  const Numbers half(size_t(p.width), 0.5), nothing(p.x.size());
  Placed x(place, as<A>(p.x)), u(place, as<A>(p.x)), du(place, as<A>(p.du)), dx(place, as<A>(nothing));
  Placed weight(place, as<A>(p.weight)), bias(place, as<A>(p.bias));
  Placed f(place, stored<E>(p.f)), y(place, stored<E>(nothing)), dy(place, stored<E>(p.dy)), df(place, stored<E>(nothing));
  Placed mean(place, std::vector<A>(size_t(p.rows))), rstd(place, std::vector<A>(size_t(p.rows)));
  Placed dweight(place, as<A>(half)), dbias(place, as<A>(half));
  const NormShape shape{p.rows, p.width, p.epsilon};
  add_norm({place}, shape, E::element, x.data(), p.joins ? f.data() : nullptr, weight.data(),
           p.layer ? bias.data() : nullptr, u.data(), y.data(), mean.data(), rstd.data());
  add_norm_backward({place}, shape, E::element, u.data(), weight.data(), p.layer ? mean.data() : nullptr, rstd.data(),
                    dy.data(), p.passes ? du.data() : nullptr, dx.data(), df.data(), dweight.data(), dbias.data());
  const auto wide = [](Placed<A>& a) { return Numbers(a.values().begin(), a.values().end()); };
  return {wide(u), seen<E>(y.values()), wide(dx), seen<E>(df.values()), wide(dweight), wide(dbias)};
}

Numbers bounds(const Numbers& expected, double storage, double noise) {
  Numbers out;
  for (const double x : expected) out.push_back(2 * storage * std::abs(x) + noise);
  return out;
}

// Sums of up to 300 rows or columns of numbers of size 1; a row's rstd magnifies by up to 100 where its width is 1.
template <class E>
void expect_formula(Place place) {
  Random random;
  for (const int64_t width : {2, 7, 16, 33, 128, 300}) {
    for (const int64_t rows : {1, 5, 130}) {
      for (int kind = 0; kind < 8; ++kind) {
        SCOPED_TRACE(str("M ", rows, " D ", width, " kind ", kind));
        const Problem p = random_problem<E>(rows, width, kind, random);
        const Result expected = plain(p), got = kernel<E>(place, p);
        const double op = E::operation, noise = 3e5 * op / double(width) + 2048 * op;
        ASSERT_NO_FATAL_FAILURE(expect_near(got.u, expected.u, bounds(expected.u, op, 0), "u"));
        ASSERT_NO_FATAL_FAILURE(expect_near(got.y, expected.y, bounds(expected.y, E::storage, noise), "y"));
        ASSERT_NO_FATAL_FAILURE(expect_near(got.dx, expected.dx, bounds(expected.dx, op, noise), "dx"));
        ASSERT_NO_FATAL_FAILURE(expect_near(got.df, expected.df, bounds(expected.df, E::storage, noise), "df"));
        ASSERT_NO_FATAL_FAILURE(expect_near(got.dweight, expected.dweight, bounds(expected.dweight, op, noise), "dweight"));
        ASSERT_NO_FATAL_FAILURE(expect_near(got.dbias, expected.dbias, bounds(expected.dbias, op, noise), "dbias"));
      }
    }
  }
}

TEST(AddNorm, FollowsTheFormulaInFloat32AtEveryInstructionSet) {
  at_every_level([] { expect_formula<Float32>(Place::cpu); });
}
TEST(AddNorm, FollowsTheFormulaInBFloat16AtEveryInstructionSet) {
  at_every_level([] { expect_formula<BFloat16>(Place::cpu); });
}
TEST(AddNorm, FollowsTheFormulaInFloat64AtEveryInstructionSet) {
  at_every_level([] { expect_formula<Float64>(Place::cpu); });
}
TEST(AddNormGpu, FollowsTheFormulaInFloat32) {
  REQUIRE_DEVICE();
  expect_formula<Float32>(Place::cuda);
}
TEST(AddNormGpu, FollowsTheFormulaInBFloat16) {
  REQUIRE_DEVICE();
  expect_formula<BFloat16>(Place::cuda);
}
TEST(AddNormGpu, FollowsTheFormulaInFloat64) {
  REQUIRE_DEVICE();
  expect_formula<Float64>(Place::cuda);
}

// Of sum(y dy) + sum(u du) by x, weight and bias.
void expect_central_differences(Place place, int kind) {
  Random random;
  Problem p = random_problem<Float64>(3, 5, kind, random);
  const Result got = kernel<Float64>(place, p);
  const auto objective = [&] {
    const Result now = kernel<Float64>(place, p);
    double sum = 0;
    for (size_t i = 0; i < now.y.size(); ++i) sum += now.y[i] * p.dy[i] + now.u[i] * p.du[i];
    return sum;
  };
  const auto expect = [&](Numbers& inputs, const Numbers& gradient, double offset) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      const double kept = inputs[i], h = 1e-5;
      inputs[i] = kept + h;
      const double above = objective();
      inputs[i] = kept - h;
      const double below = objective();
      inputs[i] = kept;
      ASSERT_NEAR((above - below) / (2 * h), gradient[i] - offset, 1e-6) << i;
    }
  };
  expect(p.x, got.dx, 0);
  expect(p.weight, got.dweight, 0.5);
  if (p.layer) expect(p.bias, got.dbias, 0.5);
}

TEST(AddNorm, GradientsAreCentralDifferences) {
  for (int kind = 0; kind < 8; ++kind) expect_central_differences(Place::cpu, kind);
}
TEST(AddNormGpu, GradientsAreCentralDifferences) {
  REQUIRE_DEVICE();
  for (int kind = 0; kind < 8; ++kind) expect_central_differences(Place::cuda, kind);
}

TEST(AddNorm, IsTheSameBitsForEveryNumberOfThreads) {
  Random random;
  const Problem p = random_problem<Float32>(333, 40, 7, random);
  Result of_one;
  with_threads(1, [&] { of_one = kernel<Float32>(Place::cpu, p); });
  for (const int threads : {2, 3, 4}) {
    with_threads(threads, [&] {
      const Result got = kernel<Float32>(Place::cpu, p);
      EXPECT_EQ(got.y, of_one.y);
      EXPECT_EQ(got.dx, of_one.dx);
      EXPECT_EQ(got.dweight, of_one.dweight);
      EXPECT_EQ(got.dbias, of_one.dbias);
    });
  }
}

TEST(AddNormGpu, GradientsAreTheSameBitsFromRunToRun) {
  REQUIRE_DEVICE();
  Random random;
  const Problem p = random_problem<Float32>(3001, 257, 7, random);
  const Result first = kernel<Float32>(Place::cuda, p);
  for (int i = 0; i < 5; ++i) {
    const Result again = kernel<Float32>(Place::cuda, p);
    EXPECT_EQ(again.dweight, first.dweight);
    EXPECT_EQ(again.dbias, first.dbias);
  }
}

void expect_overflow(Place place) {
  Random random;
  Problem p = random_problem<Float32>(1, 64, 1, random);
  for (size_t i = 0; i < p.x.size(); ++i) p.x[i] = i % 2 ? 1.25e20 : -1e20;  // mean 1.25e19: its square is below 3.4e38
  EXPECT_EQ(kernel<Float32>(place, p).y, rounded_to<float>(p.bias));         // the variance is beyond fp32: 1/inf
  for (double& x : p.x) x *= 1e3;
  for (const double y : kernel<Float32>(place, p).y) EXPECT_TRUE(std::isnan(y));  // and the mean's square
}
TEST(AddNorm, RowsWithSquaresBeyondFp32BecomeTheBiasThenNaN) {
  at_every_level([] { expect_overflow(Place::cpu); });
}
TEST(AddNormGpu, RowsWithSquaresBeyondFp32BecomeTheBiasThenNaN) {
  REQUIRE_DEVICE();
  expect_overflow(Place::cuda);
}

TEST(AddNorm, NaNStaysInItsRow) {
  Random random;
  Problem p = random_problem<Float32>(4, 20, 3, random);
  const Result before = kernel<Float32>(Place::cpu, p);
  p.x[25] = std::nan("");
  const Result after = kernel<Float32>(Place::cpu, p);
  for (size_t i = 0; i < after.y.size(); ++i) {
    if (i / 20 == 1) EXPECT_TRUE(std::isnan(after.y[i])) << i;
    else EXPECT_EQ(after.y[i], before.y[i]) << i;
  }
}

}  // namespace
}  // namespace braid::kernels
