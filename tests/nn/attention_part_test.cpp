// SPDX-License-Identifier: Apache-2.0
// Attention over keys that come in parts, against PyTorch's over all of them at once.
#include "nn/attention_part.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "nn/precompiled.h"
#include "support.h"

namespace braid {
namespace {

struct Route {
  const char* name;
  decltype(attend_to_part)* attend;
  decltype(add_part_gradient)* add_gradient;
};

constexpr int64_t batch = 2, earlier = 11, tokens = 37, heads = 6, groups = 2, width = 8;

at::Tensor drawn(at::IntArrayRef shape, uint64_t seed, at::ScalarType type) {
  return at::empty(shape, at::kDouble).normal_(0.0, 1.0, seeded_generator(seed)).to(type);
}

struct Problem {
  at::Tensor q, kv, drows;  // keys of `earlier` tokens, then those of the queries' own

  explicit Problem(at::ScalarType type)
      : q(drawn({batch, tokens, heads, width}, 1, type)),
        kv(drawn({batch, earlier + tokens, 2 * groups, width}, 2, type)),
        drows(drawn({batch, tokens, heads, width}, 3, type)) {}
  at::Tensor own(const at::Tensor& x) const { return x.narrow(1, earlier, tokens); }
  at::Tensor before(const at::Tensor& x) const { return x.narrow(1, 0, earlier); }
};

// Where each query's text begins among all keys, [B, T]: a third of the way up to itself, so that some see nothing that is earlier,
// and in one sample all see all.
at::Tensor text_starts() {
  const at::Tensor places = at::arange(earlier, earlier + tokens);
  return at::stack({places.div(3, "floor") * 2, at::zeros_like(places)});
}

struct Result {
  at::Tensor rows, dq, dkv;
};

Result by_pytorch(const Problem& p, const at::Tensor& starts = {}) {
  const at::Tensor q = p.q.to(at::kDouble, false, true).requires_grad_(true);
  const at::Tensor kv = p.kv.to(at::kDouble, false, true).requires_grad_(true);
  const auto heads_of = [&](int64_t first) {
    return kv.narrow(2, first, groups).transpose(1, 2).repeat_interleave(heads / groups, 1);
  };
  at::Tensor mask = at::ones({tokens, earlier + tokens}, at::kBool).tril(earlier);
  if (starts.defined()) mask = mask & (at::arange(earlier + tokens) >= starts.unsqueeze(-1)).unsqueeze(1);
  const at::Tensor rows =
      at::scaled_dot_product_attention(q.transpose(1, 2), heads_of(0), heads_of(groups), mask).transpose(1, 2);
  rows.backward(p.drows.to(at::kDouble));
  return {rows.detach(), q.grad(), kv.grad()};
}

Result by_parts(const Problem& p, const Route& route, const at::Tensor& starts = {}) {
  const AttentionSums sums = begin_attention(p.q);
  const at::Tensor from = starts.defined() ? (starts - earlier).clamp_min(0) : starts;
  route.attend(sums, p.q, p.before(p.kv), false, starts);
  route.attend(sums, p.q, p.own(p.kv), true, from);
  const AttentionSlopes slopes{sums.lse, p.drows, row_dots(sums.rows, p.drows)};
  const Result result{sums.rows, at::zeros_like(sums.rows), at::zeros(p.kv.sizes(), sums.rows.options())};
  route.add_gradient(slopes, p.q, p.before(p.kv), false, result.dq, p.before(result.dkv), starts);
  route.add_gradient(slopes, p.q, p.own(p.kv), true, result.dq, p.own(result.dkv), from);
  return result;
}

class AttentionParts : public testing::TestWithParam<Route> {};

TEST_P(AttentionParts, AreTogetherWhatPyTorchGivesForAllKeys) {
  for (const auto& [type, tolerance] : {std::pair(at::kDouble, 1e-13), std::pair(at::kFloat, 1e-5), std::pair(at::kBFloat16, 0.1)}) {
    SCOPED_TRACE(c10::toString(type));
    const Problem p(type);
    for (const at::Tensor& starts : {at::Tensor(), text_starts()}) {
      const Result expected = by_pytorch(p, starts), got = by_parts(p, GetParam(), starts);
      for (const auto member : {&Result::rows, &Result::dq, &Result::dkv}) {
        EXPECT_LT((got.*member - expected.*member).abs().max().item<double>(), tolerance);
      }
    }
  }
}

// Sums of some queries are a view; those of the others stay.
TEST_P(AttentionParts, OfSomeQueriesLeaveTheOthersAlone) {
  const Problem p(at::kDouble);
  const AttentionSums sums = begin_attention(p.q), whole = begin_attention(p.q);
  const int64_t first = 20, some = tokens - first;
  GetParam().attend({sums.rows.narrow(1, first, some), sums.lse.narrow(2, first, some)}, p.q.narrow(1, first, some), p.kv, false, {});
  GetParam().attend(whole, p.q, p.kv, false, {});
  EXPECT_TRUE(at::allclose(sums.rows.narrow(1, first, some), whole.rows.narrow(1, first, some), 1e-13, 1e-13));
  EXPECT_TRUE(at::allclose(sums.lse.narrow(2, first, some), whole.lse.narrow(2, first, some), 1e-13, 1e-13));
  EXPECT_EQ(sums.rows.narrow(1, 0, first).abs().max().item<double>(), 0);
  EXPECT_TRUE(at::isneginf(sums.lse.narrow(2, 0, first)).all().item<bool>());
}

INSTANTIATE_TEST_SUITE_P(Routes, AttentionParts,
                         testing::Values(Route{"kernel", attend_to_part, add_part_gradient},
                                         Route{"products", attend_by_products, add_gradient_by_products}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(AttentionPart, CausalOverAsManyKeysAsQueriesOnly) {
  const Problem p(at::kFloat);
  EXPECT_THROW(attend_to_part(begin_attention(p.q), p.q, p.kv, true), Error);
}

}  // namespace
}  // namespace braid
