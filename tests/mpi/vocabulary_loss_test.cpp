// SPDX-License-Identifier: Apache-2.0
// Logits whose columns lie on several ranks are judged as whole ones are.
#include "parallel/vocabulary_loss.h"

#include <gtest/gtest.h>

#include <limits>

#include "mpi_world.h"
#include "nn/initialise.h"
#include "nn/precompiled.h"
#include "parallel/sharded_rows.h"

namespace braid {
namespace {

using test::world;

constexpr int64_t vocabulary = 11;  // which do not divide by 2, 3 or 4
constexpr double infinity = std::numeric_limits<double>::infinity();

struct Judged {
  at::Tensor totals, gradient;
  double loss = 0;
};

Judged judge_whole(const at::Tensor& logits, const at::Tensor& targets) {
  LossTotals totals = make_loss_totals(at::kCPU);
  const at::Tensor leaf = logits.clone().requires_grad_(true);
  const at::Tensor loss = cross_entropy(leaf.clone(), targets, 0.25, totals);
  loss.backward();
  return {totals.values, leaf.grad(), loss.item<double>()};
}

// The gradient is that of this rank's columns.
Judged judge_parts(const at::Tensor& logits, const at::Tensor& targets) {
  const RowRange mine = row_range(vocabulary, world().rank(), world().size());
  LossTotals totals = make_loss_totals(at::kCPU);
  const at::Tensor leaf = logits.narrow(1, mine.first, mine.count).clone().requires_grad_(true);
  const at::Tensor loss =
      vocabulary_cross_entropy(leaf.clone(), {mine.first, vocabulary}, targets, 0.25, totals, world().host());
  loss.backward();
  return {totals.values, leaf.grad(), loss.item<double>()};
}

at::Tensor columns_here(const at::Tensor& all) {
  const RowRange mine = row_range(vocabulary, world().rank(), world().size());
  return all.narrow(1, mine.first, mine.count);
}

class VocabularyLoss : public testing::Test {
 protected:
  VocabularyLoss() : generator_(seeded_generator(3)) {
    logits_ = at::empty({40, vocabulary}, at::kDouble).normal_(0.0, 2.0, generator_);
    targets_ = at::empty({40}, at::kLong).random_(0, vocabulary, generator_);
    targets_.narrow(0, 7, 3).fill_(-100);
  }
  at::Generator generator_;
  at::Tensor logits_, targets_;
};

TEST_F(VocabularyLoss, AndItsGradientAreThoseOfAllColumns) {
  const Judged whole = judge_whole(logits_, targets_), parts = judge_parts(logits_, targets_);
  EXPECT_TRUE(at::allclose(parts.totals, whole.totals, 1e-13, 1e-13)) << parts.totals << whole.totals;
  EXPECT_NEAR(parts.loss, whole.loss, 1e-12);
  EXPECT_TRUE(at::allclose(parts.gradient, columns_here(whole.gradient), 1e-13, 1e-15));
}

TEST_F(VocabularyLoss, InNarrowerTypesAgreesWithinTheirRounding) {
  for (const auto& [type, tolerance] : {std::pair{at::kFloat, 1e-6}, std::pair{at::kBFloat16, 1e-2}}) {
    const at::Tensor logits = logits_.to(type);
    const Judged whole = judge_whole(logits, targets_), parts = judge_parts(logits, targets_);
    EXPECT_TRUE(at::allclose(parts.totals, whole.totals, 1e-6, 1e-6));
    EXPECT_TRUE(at::allclose(parts.gradient, columns_here(whole.gradient), tolerance, tolerance * 0.25));
  }
}

// The first of equal logits is what a model says, on whichever rank it lies.
TEST_F(VocabularyLoss, CountsATargetAsFoundOnlyWhereNoEqualStandsBefore) {
  logits_.fill_(-1);
  logits_.select(1, 2).fill_(5);
  logits_.select(1, vocabulary - 1).fill_(5);
  targets_.fill_(vocabulary - 1);
  targets_.narrow(0, 0, 4).fill_(2);
  EXPECT_EQ(judge_parts(logits_, targets_).totals[LossTotals::correct].item<double>(), 4);
}

TEST_F(VocabularyLoss, NumbersThatAreNotFiniteAreCountedOnceAndMakeTheLossNaN) {
  logits_[3][0] = std::numeric_limits<double>::quiet_NaN();
  logits_[4][vocabulary - 1] = infinity;
  logits_[8][5] = -infinity;
  const at::Tensor whole = judge_whole(logits_, targets_).totals, parts = judge_parts(logits_, targets_).totals;
  EXPECT_EQ(parts[LossTotals::nonfinite].item<double>(), 3);
  EXPECT_TRUE(at::allclose(parts, whole, 1e-12, 1e-12, true)) << parts << whole;
  EXPECT_TRUE(at::isnan(parts[LossTotals::loss]).item<bool>());
}

TEST_F(VocabularyLoss, OfATargetOutsideTheVocabularyIsNaN) {
  targets_[0] = vocabulary;
  EXPECT_TRUE(at::isnan(judge_parts(logits_, targets_).totals[LossTotals::loss]).item<bool>());
}

}  // namespace
}  // namespace braid
