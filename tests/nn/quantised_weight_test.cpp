// SPDX-License-Identifier: Apache-2.0
// A linear layer whose weight is in NF4 against PyTorch's own with the dequantised weight: outputs and gradients in
// double, and the paths that never hold a dense weight in float32 and bfloat16.
#include "nn/quantised_weight.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "nn/initialise.h"
#include "nn/precompiled.h"

namespace braid {
namespace {

at::Tensor normal(at::IntArrayRef shape, uint64_t seed, at::ScalarType type = at::kFloat) {
  return at::empty(shape, at::kFloat).normal_(0.0, 1.0, seeded_generator(seed)).to(type);
}

// Three matrices below each other, of which one ends in the middle of a panel and one has rows of no whole block.
std::vector<Nf4Tensor> parts(int64_t columns, bool nested) {
  std::vector<Nf4Tensor> all;
  uint64_t seed = 1;
  for (const int64_t rows : {1500, 700, 301}) all.push_back(quantise_nf4(normal({rows, columns}, seed++), nested));
  return all;
}

at::Tensor dense_of(const std::vector<Nf4Tensor>& parts, at::ScalarType type) {
  std::vector<at::Tensor> rows;
  for (const Nf4Tensor& part : parts) rows.push_back(dequantise(part, type));
  return at::cat(rows);
}

// |got - expected| in units of the rounding of `type`, relative to the sum of magnitudes.
double worst(const at::Tensor& got, const at::Tensor& expected, const at::Tensor& magnitude) {
  return ((got.to(at::kDouble) - expected).abs() / magnitude).max().item<double>();
}

void expect_products(const std::vector<Nf4Tensor>& parts, at::ScalarType type, int64_t tokens, bool with_bias) {
  SCOPED_TRACE(str(c10::toString(type), ", ", tokens, " tokens, ", parts.size(), " parts of width ", parts[0].columns));
  const Nf4Weight source(parts, type);
  const at::Tensor w = dense_of(parts, at::kFloat).to(type).to(at::kDouble);
  const at::Tensor x = normal({tokens, source.columns()}, 11, type), dy = normal({tokens, source.rows()}, 12, type);
  const at::Tensor bias = with_bias ? normal({source.rows()}, 13, type) : at::Tensor();
  const at::Tensor wide = x.to(at::kDouble), wide_dy = dy.to(at::kDouble);
  at::Tensor y = wide.mm(w.t()), magnitude = wide.abs().mm(w.abs().t());
  if (with_bias) {
    y = y + bias.to(at::kDouble);
    magnitude = magnitude + bias.to(at::kDouble).abs();
  }
  // bf16: the weight's rounding at random, and the result's.
  const double tolerance = type == at::kFloat ? 2e-6 : 0.004;
  EXPECT_LT(worst(source.product(x, bias), y, magnitude), tolerance);
  EXPECT_LT(worst(source.product_transposed(dy), wide_dy.mm(w), wide_dy.abs().mm(w.abs())), tolerance);
}

TEST(Nf4Weight, ProductsAreThoseOfTheDenseWeight) {
  for (const bool nested : {false, true}) {
    for (const int64_t columns : {256, 336}) {
      const std::vector<Nf4Tensor> all = parts(columns, nested);
      for (const int64_t tokens : {1, 7, 16, 33, 50}) {
        for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
          expect_products(all, type, tokens, tokens % 2 == 1);
          expect_products({all[2]}, type, tokens, tokens % 2 == 0);
        }
      }
    }
  }
}

TEST(Nf4Weight, GradientsAreThoseOfPyTorchWithTheDenseWeightInDouble) {
  const std::vector<Nf4Tensor> all = parts(96, true);
  ParameterSet set;
  Linear layer;
  layer.source = std::make_shared<Nf4Weight>(all, at::kDouble);
  layer.bias = &set.add("bias", {2501});
  set.allocate(Precision::fp64, at::kCPU);
  layer.bias->master.copy_(normal({2501}, 5));
  const at::Tensor x = normal({2, 3, 96}, 6, at::kDouble).requires_grad_();
  const at::Tensor dy = normal({2, 3, 2501}, 7, at::kDouble);
  set.start_backward();
  const at::Tensor y = linear(x, layer);
  y.backward(dy);

  const at::Tensor same = x.detach().clone().requires_grad_(), bias = layer.bias->master.clone().requires_grad_();
  const at::Tensor expected = at::linear(same, dense_of(all, at::kDouble), bias);
  expected.backward(dy);
  EXPECT_LT((y - expected).abs().max().item<double>(), 1e-12);
  EXPECT_LT((x.grad() - same.grad()).abs().max().item<double>(), 1e-11);
  EXPECT_LT((layer.bias->gradient - bias.grad()).abs().max().item<double>(), 1e-12);
}

TEST(Nf4Weight, IsTheWeightDequantised) {
  const std::vector<Nf4Tensor> all = parts(64, false);
  const Nf4Weight source(all, at::kBFloat16);
  EXPECT_TRUE(at::equal(source.weight(), dense_of(all, at::kFloat).to(at::kBFloat16)));
  EXPECT_EQ(all[0].bytes(), 1500 * 64 / 2 + 4 * 1500);  // 4.5 bits a weight
}

TEST(Nf4Weight, DoubleQuantisationTakesAnEighthOfABitAndStaysNear) {
  const at::Tensor dense = normal({256, 512}, 3);
  const Nf4Tensor single = quantise_nf4(dense, false), nested = quantise_nf4(dense, true);
  EXPECT_TRUE(at::equal(single.packed, nested.packed));
  EXPECT_EQ(nested.bytes(), 256 * 512 / 2 + 2048 + 4 * 8 + 4 * 256);
  const at::Tensor a = dequantise(single, at::kFloat), b = dequantise(nested, at::kFloat);
  EXPECT_LT(((a - b).abs() / (a.abs() + 1e-9)).max().item<double>(), 0.02);
}

TEST(Nf4Tensor, ABoxOfWholeBlocksHasTheValuesOfTheWhole) {
  for (const bool nested : {false, true}) {
    const Nf4Tensor whole = quantise_nf4(normal({150, 320}, 4), nested);
    const at::Tensor dense = dequantise(whole, at::kFloat);
    for (const Box& box : std::vector<Box>{{{0, 0}, {150, 320}}, {{50, 0}, {75, 320}}, {{0, 128}, {150, 64}}, {{149, 256}, {1, 64}}}) {
      const at::Tensor expected = dense.narrow(0, box.origin[0], box.shape[0]).narrow(1, box.origin[1], box.shape[1]);
      EXPECT_TRUE(at::allclose(dequantise(box_of(whole, box), at::kFloat), expected, 1e-6, 0));
    }
  }
}

TEST(Nf4Tensor, ABoxThatCutsABlockIsRefused) {
  const Nf4Tensor whole = quantise_nf4(normal({4, 128}, 4), false), narrow = quantise_nf4(normal({4, 96}, 4), false);
  EXPECT_THROW(box_of(whole, {{0, 32}, {4, 64}}), UsageError);
  EXPECT_THROW(box_of(whole, {{0, 0}, {4, 96}}), UsageError);
  EXPECT_THROW(box_of(narrow, {{0, 0}, {2, 96}}), UsageError);
}

TEST(Nf4Weight, TakesNoGradientAndPartsOfOneWidthOnly) {
  const Nf4Tensor narrow = quantise_nf4(normal({4, 64}, 1), false), wide = quantise_nf4(normal({4, 128}, 1), false);
  const Nf4Weight source({narrow}, at::kFloat);
  EXPECT_FALSE(source.trainable());
  EXPECT_THROW(source.add_gradient(at::ones({1, 4}), at::ones({1, 64})), Error);
  EXPECT_THROW(Nf4Weight({narrow, wide}, at::kFloat), Error);
  EXPECT_THROW(Nf4Weight({}, at::kFloat), Error);
}

}  // namespace
}  // namespace braid
