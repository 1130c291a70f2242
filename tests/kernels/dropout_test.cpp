// SPDX-License-Identifier: Apache-2.0
// Dropout against draws made one by one, in every stored type; the CUDA twin by the same body.
#include "kernels/dropout.h"

#include "base/philox.h"
#include <algorithm>
#include <cmath>

#include "support.h"

namespace braid::kernels {
namespace {

using namespace test;

constexpr DropoutKey key{{0x01234567u, 0x89abcdefu}, 7, 0.25};
constexpr int64_t count = 1003;

template <class E>
Numbers kernel(Place place, const Numbers& x, uint64_t first) {
  Placed in(place, stored<E>(x)), out(place, stored<E>(x));
  dropout({place}, int64_t(x.size()), E::element, key, first, in.data(), out.data());
  return seen<E>(out.values());
}

bool is_kept(uint64_t element) {
  const uint64_t group = element / 4;
  return philox4x32_10({uint32_t(group), uint32_t(group >> 32), key.step, 0}, {key.key[0], key.key[1]})[element % 4] >=
         0x40000000u;
}

template <class E>
void expect_draws(Place place) {
  Random random;
  const Numbers x = rounded<E>(random.normal(count));
  for (const uint64_t first : {uint64_t{0}, uint64_t{3}, uint64_t{0x3ffffffffull}}) {
    const Numbers y = kernel<E>(place, x, first);
    Numbers expected, bound;
    for (int64_t i = 0; i < count; ++i) {
      expected.push_back(is_kept(first + uint64_t(i)) ? x[i] / 0.75 : 0);
      bound.push_back((E::storage + 4 * E::operation) * std::abs(expected[i]));
    }
    expect_near(y, expected, bound, "y");
  }
}

TEST(Dropout, KeepsWhatItsDrawsSay) {
  expect_draws<Float32>(Place::cpu);
  expect_draws<BFloat16>(Place::cpu);
  expect_draws<Float64>(Place::cpu);
}

TEST(Dropout, APieceOfTheWholeIsTheSame) {
  Random random;
  const Numbers x = random.normal(count);
  const Numbers whole = kernel<Float64>(Place::cpu, x, 0);
  for (const int64_t cut : {1, 6, 500}) {
    const Numbers rest = kernel<Float64>(Place::cpu, Numbers(x.begin() + cut, x.end()), uint64_t(cut));
    EXPECT_EQ(rest, Numbers(whole.begin() + cut, whole.end()));
  }
}

TEST(Dropout, DropsTheShareThatIsAskedFor) {
  const Numbers y = kernel<Float64>(Place::cpu, Numbers(100000, 1.0), 0);
  const auto dropped = std::count(y.begin(), y.end(), 0.0);
  EXPECT_NEAR(double(dropped) / 100000, key.rate, 5 * std::sqrt(0.25 * 0.75 / 100000));
}

TEST(DropoutGpu, KeepsWhatItsDrawsSay) {
  REQUIRE_DEVICE();
  expect_draws<Float32>(Place::cuda);
  expect_draws<BFloat16>(Place::cuda);
  expect_draws<Float64>(Place::cuda);
}

}  // namespace
}  // namespace braid::kernels
