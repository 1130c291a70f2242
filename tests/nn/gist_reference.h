// SPDX-License-Identifier: Apache-2.0
// The single-pass form of gist compression, written with PyTorch's own operations and gradients: all segments, gists
// and the question in one row, an additive mask of 0 and -inf, and autograd leaves instead of gradient slots.
#pragma once

#include <limits>
#include <map>
#include <string>

#include "nn/gist.h"
#include "nn/gist_segments.h"
#include "nn/precompiled.h"

namespace braid::test {

using Leaves = std::map<std::string, at::Tensor>;

inline Leaves leaves_of(GistModel& gists) {
  Leaves leaves;
  for (ParameterSet* set : {&gists.model().parameters(), &gists.parameters()}) {
    for (Parameter& p : set->all()) leaves[p.name] = p.master.detach().clone().requires_grad_(true);
  }
  return leaves;
}

inline at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  return x * at::rsqrt(x.square().mean(-1, true) + epsilon) * weight;
}

// x [B, H, T, d] by positions [T], dimension i with i + d/2.
inline at::Tensor turned(const at::Tensor& x, const at::Tensor& positions, double theta) {
  const int64_t d = x.size(-1);
  const at::Tensor f = at::pow(theta, -at::arange(0, d, 2, x.options().requires_grad(false)) / double(d));
  const at::Tensor angle = positions.to(x.scalar_type()).unsqueeze(1) * f;  // [T, d/2]
  const at::Tensor a = x.narrow(-1, 0, d / 2), b = x.narrow(-1, d / 2, d / 2);
  return at::cat({a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()}, -1);
}

struct SinglePass {
  at::Tensor positions, mask;  // [T]; [T, T] additive
  int64_t question = 0;        // first column of the question
};

// Columns: for each segment its tokens and its k gists, then the question.
inline SinglePass lay_out(const SegmentPlan& plan, int64_t k, int64_t question_tokens) {
  const int64_t block = plan.length + k, before = plan.segments() * block, total = before + question_tokens;
  SinglePass row;
  std::vector<at::Tensor> positions(static_cast<size_t>(plan.segments()), at::arange(block));
  positions.push_back(at::arange(question_tokens) + block);
  row.positions = at::cat(positions);
  at::Tensor allowed = at::ones({total, total}, at::kBool).tril();
  for (int64_t g = 0; g < plan.segments(); ++g) {
    allowed.narrow(0, g * block, block).narrow(1, 0, g * block).fill_(false);
    allowed.narrow(0, before, question_tokens).narrow(1, g * block, plan.length).fill_(false);
  }
  row.mask = at::zeros({total, total}, at::kDouble).masked_fill(~allowed, -std::numeric_limits<double>::infinity());
  row.question = before;
  return row;
}

// Logits of the question's rows [B, T, V]. `context` [B, n], `question` [B, T].
inline at::Tensor single_pass_logits(const ModelConfig& c, Leaves& w, const SegmentPlan& plan, int64_t k,
                                     const at::Tensor& context, const at::Tensor& question) {
  const SinglePass row = lay_out(plan, k, question.size(1));
  const int64_t batch = context.size(0), d = c.head_width(), kv = c.key_value_heads();
  std::vector<at::Tensor> parts;
  for (const int64_t start : plan.starts) {
    parts.push_back(at::embedding(w["embedding.weight"], context.narrow(1, start, plan.length)));
    parts.push_back(w["gist.vectors"].unsqueeze(0).expand({batch, k, c.width}));
  }
  parts.push_back(at::embedding(w["embedding.weight"], question));
  at::Tensor x = at::cat(parts, 1);
  const int64_t tokens = x.size(1);
  const auto heads = [&](const at::Tensor& y, int64_t count) {
    return y.view({batch, tokens, count, d}).transpose(1, 2);
  };
  for (int64_t l = 0; l < c.layers; ++l) {
    const std::string name = "blocks." + std::to_string(l) + ".";
    const at::Tensor y =
        at::matmul(rms_norm(x, w[name + "ln1.weight"], c.norm_epsilon), w[name + "attn.in.weight"].t());
    const auto qkv = y.split_with_sizes({c.heads * d, kv * d, kv * d}, -1);
    const at::Tensor q = turned(heads(qkv[0], c.heads), row.positions, c.rope_theta);
    const at::Tensor keys = turned(heads(qkv[1], kv), row.positions, c.rope_theta).repeat_interleave(c.heads / kv, 1);
    const at::Tensor values = heads(qkv[2], kv).repeat_interleave(c.heads / kv, 1);
    const at::Tensor scores =
        at::matmul(q, keys.transpose(-1, -2)) / std::sqrt(double(d)) + row.mask.to(x.scalar_type());
    const at::Tensor seen =
        at::matmul(at::softmax(scores, -1), values).transpose(1, 2).reshape({batch, tokens, c.heads * d});
    x = x + at::matmul(seen, w[name + "attn.out.weight"].t());
    const auto gate =
        at::matmul(rms_norm(x, w[name + "ln2.weight"], c.norm_epsilon), w[name + "ff1.weight"].t()).chunk(2, -1);
    x = x + at::matmul(at::silu(gate[0]) * gate[1], w[name + "ff2.weight"].t());
  }
  const at::Tensor asked = rms_norm(x.narrow(1, row.question, question.size(1)), w["ln_f.weight"], c.norm_epsilon);
  return at::matmul(asked, (c.tie_embeddings ? w["embedding.weight"] : w["head.weight"]).t());
}

}  // namespace braid::test
