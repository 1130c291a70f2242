// SPDX-License-Identifier: Apache-2.0
#include "kernels/sums.h"

#include "support.h"

namespace braid::kernels {
namespace {

using namespace test;

template <class E>
void expect_sums() {
  using A = typename E::Coefficient;
  Random random;
  for (const auto& [rows, width] : {std::pair<int64_t, int64_t>{1, 1}, {3, 7}, {130, 33}, {1025, 64}, {40, 300}}) {
    const Numbers x = rounded<E>(random.normal(rows * width)), start = rounded_to<A>(random.normal(rows * width));
    const auto in = stored<E>(x);
    auto sum = as<A>(start), columns = as<A>(Numbers(start.begin(), start.begin() + width));
    add_to(rows * width, E::element, in.data(), sum.data());
    add_column_sums(rows, width, E::element, in.data(), columns.data());
    Numbers added = start, by_column(start.begin(), start.begin() + width), bound;
    Numbers column_bound(static_cast<size_t>(width));
    double squares = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      added[i] += x[i];
      by_column[i % size_t(width)] += x[i];
      squares += x[i] * x[i];
      bound.push_back(E::operation * std::abs(added[i]));
      column_bound[i % size_t(width)] += 100 * E::operation * std::abs(x[i]);
    }
    for (size_t d = 0; d < column_bound.size(); ++d) column_bound[d] += 2 * E::operation * std::abs(start[d]);
    ASSERT_NO_FATAL_FAILURE(expect_near(sum, added, bound, "sum"));
    ASSERT_NO_FATAL_FAILURE(expect_near(columns, by_column, column_bound, "column"));
    EXPECT_NEAR(sum_of_squares(rows * width, E::element, in.data()), squares, 1e-13 * squares);
  }
}

TEST(Sums, FollowTheFormulasAtEveryInstructionSet) {
  at_every_level([] {
    expect_sums<Float32>();
    expect_sums<BFloat16>();
    expect_sums<Float64>();
  });
}

TEST(Sums, AreTheSameBitsForEveryNumberOfThreads) {
  Random random;
  const auto x = stored<Float32>(random.normal(1000 * 77));
  std::vector<float> of_one(77);
  double squares = 0;
  with_threads(1, [&] {
    add_column_sums(1000, 77, Element::float32, x.data(), of_one.data());
    squares = sum_of_squares(int64_t(x.size()), Element::float32, x.data());
  });
  for (const int threads : {2, 3, 4}) {
    with_threads(threads, [&] {
      std::vector<float> sums(77);
      add_column_sums(1000, 77, Element::float32, x.data(), sums.data());
      EXPECT_EQ(sums, of_one);
      EXPECT_EQ(sum_of_squares(int64_t(x.size()), Element::float32, x.data()), squares);
    });
  }
}

TEST(Sums, SquaresBeyondFloat32AreFinite) {
  const std::vector<float> x(5, 1e30f);
  EXPECT_NEAR(sum_of_squares(5, Element::float32, x.data()) / 5e60, 1.0, 1e-6);
  EXPECT_EQ(sum_of_squares(0, Element::float32, nullptr), 0.0);
}

}  // namespace
}  // namespace braid::kernels
