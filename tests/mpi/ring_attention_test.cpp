// SPDX-License-Identifier: Apache-2.0
// Attention of samples that all ranks share, against PyTorch's of whole ones on one.
#include "parallel/ring_attention.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "../nn/support.h"
#include "base/error.h"
#include "comm/recording_communicator.h"
#include "mpi_world.h"
#include "parallel/zigzag.h"

namespace braid {
namespace {

using test::world;

constexpr int64_t batch = 2, tokens = 48, heads = 4, groups = 2, width = 8;

// This rank's tokens of x [B, T, ...].
at::Tensor own(const at::Tensor& x) {
  const int64_t ranks = world().size();
  return x.index_select(1, at::tensor(zigzag_positions(tokens / ranks, {world().rank(), ranks}), at::kLong));
}

struct Problem {
  at::Tensor packed, dout;  // [B, T, heads + 2 groups, d] and [B, T, heads, d]
  explicit Problem(at::ScalarType type) {
    const auto drawn = [&](int64_t slots, uint64_t seed) {
      return at::empty({batch, tokens, slots, width}, at::kDouble).normal_(0.0, 1.0, seeded_generator(seed)).to(type);
    };
    packed = drawn(heads + 2 * groups, 1);
    dout = drawn(heads, 2);
  }
};

// Of samples with several texts, where each token's begins: [B, T]. The second sample's are longer than a rank's chunk.
at::Tensor text_starts() {
  const at::Tensor places = at::arange(tokens);
  return at::stack({places.div(5, "floor") * 5, places.div(31, "floor") * 31});
}

struct Result {
  at::Tensor out, dpacked;
};

Result by_pytorch(const Problem& p, const at::Tensor& starts) {
  const at::Tensor packed = p.packed.to(at::kDouble, false, true).requires_grad_(true);
  const auto part = [&](int64_t first, int64_t count) {
    return packed.narrow(2, first, count).transpose(1, 2).repeat_interleave(heads / count, 1);
  };
  at::Tensor mask = at::ones({tokens, tokens}, at::kBool).tril();
  if (starts.defined()) mask = mask & (at::arange(tokens) >= starts.unsqueeze(-1)).unsqueeze(1);
  const at::Tensor out = at::scaled_dot_product_attention(part(0, heads), part(heads, groups), part(heads + groups, groups), mask);
  out.transpose(1, 2).backward(p.dout.to(at::kDouble));
  return {out.transpose(1, 2).detach(), packed.grad()};
}

Result in_a_ring(const Problem& p, Communicator& comm, const at::Tensor& starts = {}) {
  const at::Tensor packed = own(p.packed).requires_grad_(true);
  const at::Tensor out = ring_attention(packed, heads, comm, starts.defined() ? own(starts) : starts);
  out.backward(own(p.dout));
  return {out.detach(), packed.grad()};
}

TEST(RingAttention, IsPyTorchsAttentionOfTheWholeSample) {
  for (const auto& [type, tolerance] : {std::pair(at::kDouble, 1e-13), std::pair(at::kFloat, 1e-5), std::pair(at::kBFloat16, 0.1)}) {
    SCOPED_TRACE(c10::toString(type));
    const Problem p(type);
    for (const at::Tensor& starts : {at::Tensor(), text_starts()}) {
      const Result expected = by_pytorch(p, starts), got = in_a_ring(p, world().host(), starts);
      EXPECT_EQ(got.out.scalar_type(), type);
      EXPECT_LT((got.out - own(expected.out)).abs().max().item<double>(), tolerance);
      EXPECT_LT((got.dpacked - own(expected.dpacked)).abs().max().item<double>(), tolerance);
    }
  }
}

// Keys and values to all others, there and again in backward, and behind them gradients in fp32.
TEST(RingAttention, SendsWhatItSays) {
  const auto recorder = std::make_shared<CollectiveRecorder>();
  const auto comm = make_recording_communicator(world().host().split(0, world().rank()), recorder, "context");
  in_a_ring(Problem(at::kBFloat16), *comm);
  size_t keys = 0, gradients = 0;
  for (const CollectiveRecord& call : recorder->snapshot().entries) {
    (call.dtype == Dtype::bfloat16 ? keys : gradients) += call.operation == "all_to_all_parts" ? call.count : 0;
  }
  const size_t others = size_t(world().size() - 1), own_keys = size_t(batch * tokens / world().size() * 2 * groups * width);
  EXPECT_EQ(keys, 2 * others * own_keys);
  EXPECT_EQ(gradients, others * own_keys);
}

TEST(Zigzag, GivesEveryTokenToOneRankAndEachAsManyPairs) {
  for (const int64_t ranks : {1, 2, 3, 4}) {
    std::vector<int64_t> seen, pairs;
    for (int64_t rank = 0; rank < ranks; ++rank) {
      const std::vector<int64_t> mine = zigzag_positions(tokens / ranks, {rank, ranks});
      EXPECT_TRUE(std::is_sorted(mine.begin(), mine.end()));
      seen.insert(seen.end(), mine.begin(), mine.end());
      int64_t before = 0;
      for (const int64_t place : mine) before += place + 1;
      pairs.push_back(before);
    }
    std::sort(seen.begin(), seen.end());
    for (int64_t place = 0; place < tokens; ++place) EXPECT_EQ(seen[size_t(place)], place);
    EXPECT_EQ(std::count(pairs.begin(), pairs.end(), pairs[0]), ranks);
  }
}

TEST(Zigzag, OfTokensThatDoNotDivideIsRefused) {
  EXPECT_NO_THROW(check_context_cut(7, 1));
  EXPECT_NO_THROW(check_context_cut(24, 3));
  EXPECT_THROW(check_context_cut(6, 2), UsageError);
}

}  // namespace
}  // namespace braid
