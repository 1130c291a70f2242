// SPDX-License-Identifier: Apache-2.0
// Products of a few tokens against sums in double, at every instruction set, for widths that are no whole number of
// vectors and odd numbers of outputs.
#include "kernels/skinny_product.h"

#include "support.h"

namespace braid::kernels {
namespace {

using namespace test;

template <class E>
struct Case {
  using Stored = typename E::Stored;
  explicit Case(const SkinnyShape& shape)
      : shape(shape),
        x(stored<E>(random.normal(shape.tokens * shape.inputs))),
        weight(stored<E>(random.normal(shape.outputs * shape.inputs))),
        bias(stored<E>(random.normal(shape.outputs))) {}

  std::vector<Stored> product(bool with_bias = true) const {
    std::vector<Stored> y(size_t(shape.tokens * shape.outputs));
    skinny_product({}, E::element, shape, x.data(), weight.data(), with_bias ? bias.data() : nullptr, y.data());
    return y;
  }

  Random random;
  SkinnyShape shape;
  std::vector<Stored> x, weight, bias;
};

template <class E>
void expect_sums(const SkinnyShape& shape, bool with_bias) {
  SCOPED_TRACE(str(shape.tokens, " tokens, ", shape.inputs, " to ", shape.outputs, with_bias ? ", bias" : ""));
  const Case<E> given(shape);
  const Numbers x = seen<E>(given.x), weight = seen<E>(given.weight), bias = seen<E>(given.bias);
  Numbers expected, bound;
  for (int64_t n = 0; n < shape.tokens; ++n) {
    for (int64_t row = 0; row < shape.outputs; ++row) {
      double sum = with_bias ? bias[size_t(row)] : 0, magnitude = std::abs(sum);
      for (int64_t k = 0; k < shape.inputs; ++k) {
        const double term = x[size_t(n * shape.inputs + k)] * weight[size_t(row * shape.inputs + k)];
        sum += term;
        magnitude += std::abs(term);
      }
      expected.push_back(sum);
      bound.push_back(E::storage * std::abs(sum) + 32 * E::operation * magnitude);
    }
  }
  expect_near(seen<E>(given.product(with_bias)), expected, bound, "y");
}

template <class E>
void expect_all_shapes() {
  for (const int64_t tokens : {1, 2, 3, 4, 5, 7, 8, 9, 16, 21}) {
    for (const int64_t inputs : {1, 31, 64, 200}) {
      expect_sums<E>({tokens, inputs, 5}, true);
      expect_sums<E>({tokens, inputs, 6}, false);
    }
  }
}

TEST(SkinnyProduct, IsTheSumInFloat32AtEveryInstructionSet) { at_every_level(expect_all_shapes<Float32>); }
TEST(SkinnyProduct, IsTheSumInBFloat16AtEveryInstructionSet) { at_every_level(expect_all_shapes<BFloat16>); }
TEST(SkinnyProduct, IsTheSumInBFloat16AsThisProcessorDoesIt) {
  expect_all_shapes<BFloat16>();
  for (const int64_t tokens : {9, 16, 27}) expect_sums<BFloat16>({tokens, 160, 70}, tokens == 16);
}

// The same bits for a token whatever is beside it.
template <class E>
void expect_each_alone() {
  const Case<E> together({11, 200, 7});
  const auto all = together.product();
  for (int64_t n = 0; n < 11; ++n) {
    Case<E> alone = together;
    alone.shape.tokens = 1;
    alone.x.assign(together.x.begin() + n * 200, together.x.begin() + (n + 1) * 200);
    EXPECT_EQ(alone.product(), std::vector(all.begin() + n * 7, all.begin() + (n + 1) * 7)) << "token " << n;
  }
}
TEST(SkinnyProduct, GivesATokenTheSameBitsWhateverIsBesideIt) {
  at_every_level([] { expect_each_alone<Float32>(), expect_each_alone<BFloat16>(); });
  expect_each_alone<BFloat16>();
}

// From 9 tokens on in tiles; 70 outputs are two squares of them and a rest.
TEST(SkinnyProduct, InTilesATokenHasTheSameBitsWhateverIsBesideIt) {
  if (!suits_tiles(Element::bfloat16, 96)) GTEST_SKIP() << "this processor has no AMX";
  Case<BFloat16> given({32, 96, 70});
  const auto all = given.product();
  for (const int64_t tokens : {9, 16, 17, 31}) {
    given.shape.tokens = tokens;
    EXPECT_EQ(given.product(), std::vector(all.begin(), all.begin() + tokens * 70)) << tokens << " tokens";
  }
}

// Any outputs of it by one thread.
template <class E>
void expect_parts() {
  for (const int64_t tokens : {1, 3}) {
    const Case<E> given({tokens, 200, 7});
    std::vector<typename E::Stored> parts(size_t(tokens * 7));
    for (const auto& [first, end] : {std::pair{0, 3}, std::pair{3, 3}, std::pair{3, 7}}) {
      skinny_product_part(E::element, given.shape, given.x.data(), given.weight.data(), parts.data(), first, end);
    }
    EXPECT_EQ(parts, given.product(false)) << tokens << " tokens";
  }
}
TEST(SkinnyProduct, PartsHaveTheBitsOfTheWhole) {
  at_every_level([] { expect_parts<Float32>(), expect_parts<BFloat16>(); });
  expect_parts<BFloat16>();
}

TEST(SkinnyProduct, IsTheSameOnAnyNumberOfThreads) {
  for (const SkinnyShape& shape : {SkinnyShape{3, 200, 37}, SkinnyShape{12, 64, 150}, SkinnyShape{20, 64, 40}}) {
    const Case<BFloat16> given(shape);
    const auto one = given.product();
    with_threads(3, [&] { EXPECT_EQ(given.product(), one); });
  }
}

TEST(SkinnyProduct, RefusesFloat64) {
  const double number = 1;
  double y = 0;
  EXPECT_THROW(skinny_product({}, Element::float64, {1, 1, 1}, &number, &number, nullptr, &y), Error);
}

}  // namespace
}  // namespace braid::kernels
