// SPDX-License-Identifier: Apache-2.0
#include "nn/stacked_weight.h"

#include <gtest/gtest.h>

#include "nn/initialise.h"
#include "nn/precompiled.h"
#include "nn/quantised_weight.h"

namespace braid {
namespace {

at::Tensor normal(at::IntArrayRef shape, uint64_t seed) {
  return at::empty(shape, at::kDouble).normal_(0.0, 1.0, seeded_generator(seed));
}

TEST(StackedWeight, ComputesWhatTheWholeMatrixDoes) {
  const Nf4Tensor quantised = quantise_nf4(normal({10, 64}, 1).to(at::kFloat), true);
  const at::Tensor dense = normal({7, 64}, 2), x = normal({5, 64}, 3), dy = normal({5, 17}, 4), bias = normal({17}, 5);
  const StackedWeight stacked({{std::make_shared<Nf4Weight>(std::vector{quantised}, at::kDouble), 10},
                               {std::make_shared<FrozenWeight>(dense), 7}});
  const at::Tensor whole = at::cat({dequantise(quantised, at::kDouble), dense});
  EXPECT_TRUE(stacked.weight().equal(whole));
  EXPECT_TRUE(at::allclose(stacked.product(x, bias), at::addmm(bias, x, whole.t()), 1e-12, 1e-12));
  EXPECT_TRUE(at::allclose(stacked.product_transposed(dy), dy.mm(whole), 1e-12, 1e-12));
  EXPECT_FALSE(stacked.trainable());
}

}  // namespace
}  // namespace braid
