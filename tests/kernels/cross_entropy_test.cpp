// SPDX-License-Identifier: Apache-2.0
// Softmax cross-entropy against the plain formula in double: loss, counts and gradient, numbers that are not finite,
// the accuracy of the vectorised exp, and sums that do not depend on threads.
#include "kernels/cross_entropy.h"

#include <algorithm>
#include <limits>

#include "support.h"

namespace braid::kernels {
namespace {

using namespace test;

constexpr double infinite = std::numeric_limits<double>::infinity();
const double nan = std::nan("");

struct Problem {
  int64_t rows, vocabulary;
  Numbers logits;
  std::vector<int64_t> targets;
  double scale = 0.37;
};

// Every fifth row without a target; the others' targets are the largest logit half of the time.
template <class E>
Problem random_problem(int64_t rows, int64_t vocabulary, double deviation, Random& random) {
  Problem p{rows, vocabulary, rounded<E>(random.normal(rows * vocabulary, deviation)), {}};
  for (int64_t row = 0; row < rows; ++row) {
    const auto first = p.logits.begin() + row * vocabulary;
    const int64_t largest = std::max_element(first, first + vocabulary) - first;
    p.targets.push_back(row % 5 == 2 ? -100 : row % 2 ? largest : random.below(vocabulary));
  }
  return p;
}

struct Result {
  LossSums sums;
  Numbers gradient;
};

// The formula; maximum and argument of the maximum are NaN-free only for finite rows.
Result plain(const Problem& p) {
  Result out{{}, Numbers(p.logits.size())};
  for (int64_t row = 0; row < p.rows; ++row) {
    const auto x = p.logits.begin() + row * p.vocabulary;
    for (int64_t i = 0; i < p.vocabulary; ++i) out.sums.nonfinite += !std::isfinite(x[i]);
    const int64_t target = p.targets[size_t(row)];
    if (target == -100) continue;
    const auto largest = std::max_element(x, x + p.vocabulary);
    double sum = 0;
    for (int64_t i = 0; i < p.vocabulary; ++i) sum += std::exp(x[i] - *largest);
    out.sums.loss += std::log(sum) - (x[target] - *largest);
    out.sums.count += 1;
    out.sums.correct += largest - x == target;
    for (int64_t i = 0; i < p.vocabulary; ++i) {
      out.gradient[size_t(row * p.vocabulary + i)] = (std::exp(x[i] - *largest) / sum - (i == target)) * p.scale;
    }
  }
  return out;
}

enum class Gradient { none, apart, in_place };

template <class E>
Result kernel(Place place, const Problem& p, Gradient where) {
  Placed logits(place, stored<E>(p.logits)), gradient(place, stored<E>(p.logits));
  Placed targets(place, p.targets);
  Placed sums(place, std::vector<LossSums>(1));
  cross_entropy({place}, E::element, p.rows, p.vocabulary, logits.data(), targets.data(), p.scale, sums.data(),
                where == Gradient::none       ? nullptr
                : where == Gradient::in_place ? logits.data()
                                              : gradient.data());
  auto& written = where == Gradient::in_place ? logits : gradient;
  return {sums.values()[0], seen<E>(written.values())};
}

// Bounds: a probability is a quotient of two exponentials and a sum of fp32 lanes: 32 operations, of the scale; the
// loss of a row has the error of the sum's logarithm, and rows are added up in double.
template <class E>
void expect_formula(Place place) {
  Random random;
  for (const int64_t vocabulary : {1, 2, 5, 16, 31, 64, 100, 257, 513, 1000, 4104}) {
    for (const double deviation : {1.0, 30.0}) {
      SCOPED_TRACE(str("V ", vocabulary, " deviation ", deviation));
      const Problem p = random_problem<E>(131, vocabulary, deviation, random);
      const Result expected = plain(p);
      Numbers bound;
      for (const double g : expected.gradient) bound.push_back(E::storage * std::abs(g) + 32 * E::operation * p.scale);
      for (const Gradient where : {Gradient::apart, Gradient::in_place, Gradient::none}) {
        const Result got = kernel<E>(place, p, where);
        EXPECT_NEAR(got.sums.loss, expected.sums.loss,
                    double(p.rows) * (32 * E::operation + 0x1p-53 * expected.sums.loss));
        EXPECT_EQ(got.sums.count, expected.sums.count);
        EXPECT_EQ(got.sums.correct, expected.sums.correct);
        EXPECT_EQ(got.sums.nonfinite, 0);
        if (where == Gradient::none) continue;
        ASSERT_NO_FATAL_FAILURE(expect_near(got.gradient, expected.gradient, bound, "gradient"));
      }
    }
  }
}

TEST(CrossEntropy, FollowsTheFormulaInFloat32AtEveryInstructionSet) {
  at_every_level([] { expect_formula<Float32>(Place::cpu); });
}
TEST(CrossEntropy, FollowsTheFormulaInBFloat16AtEveryInstructionSet) {
  at_every_level([] { expect_formula<BFloat16>(Place::cpu); });
}
TEST(CrossEntropy, FollowsTheFormulaInFloat64AtEveryInstructionSet) {
  at_every_level([] { expect_formula<Float64>(Place::cpu); });
}
TEST(CrossEntropyGpu, FollowsTheFormulaInFloat32) {
  REQUIRE_DEVICE();
  expect_formula<Float32>(Place::cuda);
}
TEST(CrossEntropyGpu, FollowsTheFormulaInBFloat16) {
  REQUIRE_DEVICE();
  expect_formula<BFloat16>(Place::cuda);
}
TEST(CrossEntropyGpu, FollowsTheFormulaInFloat64) {
  REQUIRE_DEVICE();
  expect_formula<Float64>(Place::cuda);
}

void expect_central_differences(Place place) {
  Random random;
  Problem p = random_problem<Float64>(7, 9, 1.0, random);
  const Numbers gradient = kernel<Float64>(place, p, Gradient::apart).gradient;
  const double h = 1e-5;
  for (size_t i = 0; i < p.logits.size(); ++i) {
    const double kept = p.logits[i];
    p.logits[i] = kept + h;
    const double above = kernel<Float64>(place, p, Gradient::none).sums.loss;
    p.logits[i] = kept - h;
    const double below = kernel<Float64>(place, p, Gradient::none).sums.loss;
    p.logits[i] = kept;
    ASSERT_NEAR((above - below) / (2 * h) * p.scale, gradient[i], 1e-9) << i;
  }
}

TEST(CrossEntropy, GradientIsTheCentralDifference) { expect_central_differences(Place::cpu); }
TEST(CrossEntropyGpu, GradientIsTheCentralDifference) {
  REQUIRE_DEVICE();
  expect_central_differences(Place::cuda);
}

// One row of 70 zeros, with `value` at each of a few places in turn.
template <class E>
void expect_not_finite(Place place) {
  for (const int64_t at : {0, 1, 17, 63, 69}) {
    for (const double value : {nan, infinite, -infinite}) {
      for (const int64_t target : {int64_t(-100), at, int64_t(33)}) {
        SCOPED_TRACE(str(value, " at ", at, ", target ", target));
        Problem p{1, 70, Numbers(70), {target}};
        p.logits[size_t(at)] = value;
        const Result got = kernel<E>(place, p, Gradient::apart);
        EXPECT_EQ(got.sums.nonfinite, 1);
        EXPECT_EQ(got.sums.count, target != -100);
        EXPECT_EQ(got.sums.correct, 0);
        if (target == -100) {
          EXPECT_EQ(got.sums.loss, 0);
          EXPECT_EQ(got.gradient, Numbers(70));
        } else if (value == -infinite) {  // a masked logit: probability 0, and an infinite loss where it is the target
          if (target == at) EXPECT_EQ(got.sums.loss, infinite);
          else EXPECT_NEAR(got.sums.loss, std::log(69.0), 1e-5);
          EXPECT_NEAR(got.gradient[size_t(at)], target == at ? -p.scale : 0.0, E::storage);
          EXPECT_NEAR(got.gradient[68], p.scale / 69, E::storage);
        } else {
          EXPECT_TRUE(std::isnan(got.sums.loss));
          for (const double g : got.gradient) EXPECT_TRUE(std::isnan(g));
        }
      }
    }
  }
}

TEST(CrossEntropy, NotFiniteLogitsAreCountedAndMakeTheLossNaN) {
  at_every_level([] {
    expect_not_finite<Float32>(Place::cpu);
    expect_not_finite<BFloat16>(Place::cpu);
    expect_not_finite<Float64>(Place::cpu);
  });
}
TEST(CrossEntropyGpu, NotFiniteLogitsAreCountedAndMakeTheLossNaN) {
  REQUIRE_DEVICE();
  expect_not_finite<Float32>(Place::cuda);
  expect_not_finite<BFloat16>(Place::cuda);
  expect_not_finite<Float64>(Place::cuda);
}

// Rows in which every logit is -infinity, or one NaN carries a payload.
void expect_hopeless_rows(Place place) {
  Problem p{1, 40, Numbers(40, -infinite), {3}};
  const Result masked = kernel<Float32>(place, p, Gradient::apart);
  EXPECT_TRUE(std::isnan(masked.sums.loss));
  EXPECT_EQ(masked.sums.nonfinite, 40);
  EXPECT_EQ(masked.sums.correct, 0);
  for (const uint32_t bits : {0x7fc00001u, 0xffc12345u, 0x7fffffffu}) {
    std::vector<float> logits(40, 0.0f);
    logits[11] = std::bit_cast<float>(bits);
    Placed x(place, logits);
    Placed targets(place, std::vector<int64_t>{3});
    Placed sums(place, std::vector<LossSums>(1));
    cross_entropy({place}, Element::float32, 1, 40, x.data(), targets.data(), 1.0, sums.data(), x.data());
    EXPECT_TRUE(std::isnan(sums.values()[0].loss)) << bits;
    for (const float g : x.values()) EXPECT_TRUE(std::isnan(g)) << bits;
  }
}

TEST(CrossEntropy, RowsWithoutAnyFiniteAnswerAreNaN) {
  at_every_level([] { expect_hopeless_rows(Place::cpu); });
}
TEST(CrossEntropyGpu, RowsWithoutAnyFiniteAnswerAreNaN) {
  REQUIRE_DEVICE();
  expect_hopeless_rows(Place::cuda);
}

void expect_first_of_equals(Place place) {
  for (const int64_t target : {0, 5, 40, 99}) {
    Problem p{1, 100, Numbers(100), {target}};
    p.logits[40] = p.logits[99] = 2.0;
    EXPECT_EQ(kernel<Float32>(place, p, Gradient::none).sums.correct, target == 40) << target;
    EXPECT_EQ(kernel<Float32>(place, {1, 100, Numbers(100, -1.0), {target}}, Gradient::none).sums.correct, target == 0);
  }
}

TEST(CrossEntropy, OnlyTheFirstOfEqualLargestLogitsIsCorrect) {
  at_every_level([] { expect_first_of_equals(Place::cpu); });
}
TEST(CrossEntropyGpu, OnlyTheFirstOfEqualLargestLogitsIsCorrect) {
  REQUIRE_DEVICE();
  expect_first_of_equals(Place::cuda);
}

// In a row {0, x, x, …} with x <= -30 the sum is exactly 1 in float, so that the gradient is exp(x) and nothing else.
TEST(CrossEntropy, ExponentialsAreWithinOneUnitInTheLastPlaceAtEveryInstructionSet) {
  at_every_level([] {
    const int64_t count = 20000;
    Problem p{1, count, Numbers(size_t(count)), {0}};
    p.scale = 1.0;
    for (int64_t i = 1; i < count; ++i) p.logits[size_t(i)] = float(-30.0 - 75.0 * double(i) / double(count));
    const Result got = kernel<Float32>(Place::cpu, p, Gradient::apart);
    double worst = 0;
    for (size_t i = 1; i < p.logits.size(); ++i) {
      const double exact = std::exp(p.logits[i]);
      const double unit = std::max(double(std::nextafter(float(exact), INFINITY) - float(exact)), 0x1p-149);
      worst = std::max(worst, std::abs(got.gradient[i] - exact) / unit);
    }
    EXPECT_LE(worst, 1.0);
    EXPECT_GT(worst, 0.3) << "half a unit is what rounding alone costs: is this measuring anything?";
  });
}

TEST(CrossEntropy, SumsAndGradientAreTheSameBitsForEveryNumberOfThreadsAndAreAdded) {
  Random random;
  const Problem p = random_problem<Float32>(777, 33, 3.0, random);
  at_every_level([&] {
    Result of_one;
    with_threads(1, [&] { of_one = kernel<Float32>(Place::cpu, p, Gradient::apart); });
    for (const int threads : {2, 3, 4}) {
      with_threads(threads, [&] {
        const Result got = kernel<Float32>(Place::cpu, p, Gradient::apart);
        EXPECT_EQ(got.sums.loss, of_one.sums.loss);
        EXPECT_EQ(got.gradient, of_one.gradient);
      });
    }
    LossSums sums{1.0, 2, 3, 4};
    const std::vector<float> logits = stored<Float32>(p.logits);
    cross_entropy({}, Element::float32, p.rows, p.vocabulary, logits.data(), p.targets.data(), p.scale, &sums, nullptr);
    EXPECT_EQ(sums.loss, 1.0 + of_one.sums.loss);
    EXPECT_EQ(sums.count, 2 + of_one.sums.count);
    EXPECT_EQ(sums.correct, 3 + of_one.sums.correct);
    EXPECT_EQ(sums.nonfinite, 4);
  });
}

TEST(CrossEntropyGpu, SumsAreTheSameBitsFromRunToRun) {
  REQUIRE_DEVICE();
  Random random;
  const Problem p = random_problem<Float32>(3001, 1000, 3.0, random);
  const Result first = kernel<Float32>(Place::cuda, p, Gradient::apart);
  for (int i = 0; i < 5; ++i) {
    const Result again = kernel<Float32>(Place::cuda, p, Gradient::apart);
    EXPECT_EQ(again.sums.loss, first.sums.loss);
    EXPECT_EQ(again.gradient, first.gradient);
  }
}

TEST(CrossEntropy, ATargetOutsideTheVocabularyIsAnError) {
  for (const int64_t target : {-1, 4, 1000, -101}) {
    Problem p{2, 4, Numbers(8), {1, target}};
    try {
      kernel<Float32>(Place::cpu, p, Gradient::apart);
      FAIL() << target;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(str("target ", target, " of row 1")), std::string::npos) << error.what();
    }
  }
}
TEST(CrossEntropyGpu, ATargetOutsideTheVocabularyMakesTheLossNaN) {
  REQUIRE_DEVICE();
  for (const int64_t target : {-1, 4, 1000, -101}) {
    EXPECT_TRUE(std::isnan(kernel<Float32>(Place::cuda, {2, 4, Numbers(8), {1, target}}, Gradient::apart).sums.loss));
  }
}

}  // namespace
}  // namespace braid::kernels
