// SPDX-License-Identifier: Apache-2.0
#include "nn/move_keys.h"

#include <gtest/gtest.h>

#include "nn/gist.h"
#include "nn/gist_segments.h"
#include "support.h"

namespace braid {
namespace {

ModelConfig shape(const std::string& kind) {
  ModelConfig config = test::small_model("llama", "residual");
  config.width = 32;
  config.rope.kind = kind;
  config.rope.factor = 4;
  config.rope.original_context = 32;
  return config;
}

at::Tensor random(std::vector<int64_t> sizes, at::ScalarType type) {
  at::Generator generator = seeded_generator(3);
  return at::empty(sizes, at::kDouble).normal_(0, 1, generator).to(type);
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

class EveryRope : public testing::TestWithParam<const char*> {};

TEST_P(EveryRope, MovedKeysAreKeysThatStoodThere) {
  const ModelConfig config = shape(GetParam());
  const at::Tensor from = at::tensor({3, 4, 9, 70}, at::kLong), to = at::tensor({1200, 0, 9, 5}, at::kLong);
  const auto error = [&](at::ScalarType type, at::ScalarType wide) {
    const at::Tensor keys = random({2, 2, 4, config.head_width()}, type);
    const at::Tensor there = rotate(keys, rotary_table(to, config, wide));
    const at::Tensor here = rotate(keys, rotary_table(from, config, wide));
    const at::Tensor moved = move_keys(here, from, to, config, wide);
    EXPECT_EQ(moved.scalar_type(), type);
    return largest_difference(moved, there);
  };
  EXPECT_LT(error(at::kDouble, at::kDouble), 1e-12);
  EXPECT_LT(error(at::kFloat, at::kFloat), 2e-3);     // angles of 1200 rad in fp32
  EXPECT_LT(error(at::kBFloat16, at::kFloat), 5e-2);  // numbers up to 4 are rounded twice to 8 bits
}

INSTANTIATE_TEST_SUITE_P(Kinds, EveryRope, testing::Values("none", "linear", "llama3", "yarn"));

// A model whose gists are made at one place and asked at another.
class MovedGists : public testing::TestWithParam<const char*> {
 protected:
  MovedGists() : model_(shape(GetParam()), Precision::fp64, at::kCPU), gists_(model_, 2) {
    test::randomise(model_, 5, 0.3);
    initialise_gists(gists_, 6);
  }
  at::Tensor random_ids(int64_t rows, int64_t tokens) {
    at::Generator generator = seeded_generator(7);
    return at::empty({rows, tokens}, at::kLong).random_(0, model_.config().vocabulary, generator);
  }
  Transformer model_;
  GistModel gists_;
};

TEST_P(MovedGists, AreGistsThatWereMadeThere) {
  const at::NoGradGuard no_gradient;
  const at::Tensor ids = random_ids(3, 9), question = random_ids(3, 4);
  const at::Tensor here = gists_.compress(ids), there = gists_.compress(ids, 130);
  const at::Tensor moved = move_past(here, 130, model_.config(), at::kDouble);
  EXPECT_GT(largest_difference(here, there), 1e-2);
  EXPECT_LT(largest_difference(moved, there), 1e-12);
  AnswerPast past = past_of_gists(moved, 9 + 2 + 130), first = past_of_gists(here, 9 + 2);
  const at::Tensor answer = gists_.answer(question, past);
  AnswerPast made = past_of_gists(there, 9 + 2 + 130);
  EXPECT_LT(largest_difference(answer, gists_.answer(question, made)), 1e-11);
  EXPECT_LT(largest_difference(answer, gists_.answer(question, first)), 1e-11);  // only distances count
}

INSTANTIATE_TEST_SUITE_P(Kinds, MovedGists, testing::Values("none", "llama3", "yarn"));

}  // namespace
}  // namespace braid
