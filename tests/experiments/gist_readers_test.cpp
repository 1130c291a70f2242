// SPDX-License-Identifier: Apache-2.0
#include "experiments/gist_readers.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "comm/communicator.h"
#include "data/passkey_questions.h"
#include "experiments/gist_examine.h"
#include "experiments/gist_training.h"
#include "nn/precompiled.h"
#include "tiny_gist_config.h"

namespace braid {
namespace {

constexpr int64_t context = 24;

class Readers : public testing::Test {
 protected:
  void make(int64_t gists) {
    const RunConfig config = test::tiny_gist_config(context, gists);
    loaded_.model = std::make_unique<Transformer>(config.model, Precision::fp32, at::kCPU);
    loaded_.gists = std::make_unique<GistModel>(*loaded_.model, gists);
    initialise_gist_model(*loaded_.gists, config);
    set_ = passkey_questions({context, 1, Split::held_out, 0, {}});
  }
  std::map<std::string, SystemResult> results(int64_t segment, int64_t overlap, int64_t reread) {
    const at::NoGradGuard no_gradient;
    const SystemNeeds needs{loaded_, set_, segment, overlap, reread};
    const auto comm = make_single_communicator();
    std::map<std::string, SystemResult> all;
    for (SystemResult& one : examine(gist_systems(needs), set_, {0, 12}, 120, at::kCPU, *comm)) all[one.system] = one;
    return all;
  }
  static std::vector<std::vector<int64_t>> answers(const SystemResult& result) {
    std::vector<std::vector<int64_t>> tokens;
    for (const GistAnswer& answer : result.answers) tokens.push_back(answer.tokens);
    return tokens;
  }
  AdaptedModel loaded_;
  QuestionSet set_;
};

// With room for everything, choosing is no choice.
TEST_F(Readers, WithABudgetOfTheWholeContextAreTheFullContext) {
  make(context);
  auto all = results(context, 0, 1);
  const auto full = answers(all["full"]);
  ASSERT_EQ(full.size(), 12u);
  EXPECT_GT(std::set<std::vector<int64_t>>(full.begin(), full.end()).size(), 3u);
  for (const char* name : {"snapkv", "window", "hybrid"}) EXPECT_EQ(answers(all[name]), full) << name;
}

TEST_F(Readers, SayWhatTheyStoreAndRead) {
  make(2);
  auto all = results(10, 3, 1);  // segments at 0, 7 and 14: six gists
  const double position = 2 * 2 * 32 * 4;
  for (const char* name : {"gist", "pooled", "snapkv", "window"}) EXPECT_EQ(all[name].read_positions, 6) << name;
  EXPECT_EQ(all["pooled"].stored_bytes, 6 * position);
  EXPECT_EQ(all["snapkv"].stored_positions, context);
  EXPECT_EQ(all["snapkv"].stored_bytes, context * position);
  EXPECT_EQ(all["hybrid"].stored_positions, 6 + context);
  EXPECT_EQ(all["hybrid"].read_positions, 6 + 10);
  EXPECT_EQ(all["bm25"].read_positions, 0);  // no context has the question's token
  EXPECT_EQ(answers(all["bm25"]).size(), 12u);
}

// All segments read again, as a set: what they say does not depend on the order in which gists rank them.
TEST_F(Readers, HybridReadsAsManySegmentsAsItIsTold) {
  make(1);
  auto one = results(10, 3, 1), all = results(10, 3, 9);
  EXPECT_EQ(one["hybrid"].read_positions, 3 + 10);
  EXPECT_EQ(all["hybrid"].read_positions, 3 + 30);
}

TEST(Stretches, CoverTheContextAndEndWhereItDoes) {
  EXPECT_EQ(stretches(10, 4), (std::vector<int64_t>{0, 2, 4, 6}));
  EXPECT_EQ(stretches(11, 4), (std::vector<int64_t>{0, 2, 4, 6, 7}));
  EXPECT_EQ(stretches(3, 1), (std::vector<int64_t>{0, 1, 2}));
  EXPECT_EQ(stretches(4, 4), (std::vector<int64_t>{0}));
}

// By hand: 4 stretches. 7 stands in 3 of them, 9 in one, so 9 weighs more; two of a word weigh less than two words.
TEST(BestStretch, RanksRareWordsFirst) {
  const std::vector<int64_t> text = {7, 7, 1, 9, 2, 7, 3, 7}, starts = {0, 2, 4, 6};
  EXPECT_EQ(best_stretch(text, starts, 2, {7, 9}), 1);
  EXPECT_EQ(best_stretch(text, starts, 2, {7}), 0);
  EXPECT_EQ(best_stretch(text, starts, 2, {7, 3}), 3);
  EXPECT_EQ(best_stretch(text, starts, 2, {5}), -1);
}

}  // namespace
}  // namespace braid
