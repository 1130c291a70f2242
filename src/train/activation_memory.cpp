// SPDX-License-Identifier: Apache-2.0
#include "train/activation_memory.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "nn/connection_functions.h"
#include "nn/precompiled.h"
#include "nn/token_coefficients.h"

namespace braid {

namespace {

// Bytes for one token. What autograd keeps is counted from what the layers' Functions save; what backward passes hold beside
// it was measured (tests/train/memory_test.cpp).
struct TokenBytes {
  int64_t master = 4, compute = 4;
  int64_t stream = 4;  // where there are several
  int64_t parts = 1;   // of what is kept between cut layers a rank has one
  bool shares() const { return parts > 1; }
};

// Kept of the part that a sublayer's recomputation makes again: inputs of norms in master type with their statistics, inputs
// of products in compute type, and the attention's rows.
int64_t attention_bytes(const ModelConfig& m, TokenBytes of, bool rings) {
  const int64_t D = m.width, q = m.query_width(), kv = m.key_value_width(), statistics = m.is_llama() ? 4 : 8;
  const int64_t scores = m.attention == "standard" && !rings ? m.heads * m.context : 0;
  return (of.master * D + statistics) / of.parts + of.compute * (D + (q + 2 * kv) + q) + 4 * (m.heads + scores);
}

int64_t mlp_bytes(const ModelConfig& m, TokenBytes of) {
  const int64_t statistics = m.is_llama() ? 4 : 8;
  return (of.master * m.width + statistics) / of.parts + of.compute * (m.width + (m.is_llama() ? 4 : 2) * m.mlp_width);
}

// Kept for each block besides: in the public form its streams and what it wrote; in the paper's each sublayer's, with its
// projection, coefficients and the norm's divisor, and a segment of streams while it is computed again.
int64_t stream_bytes(const ModelConfig& m, const TrainConfig& train, TokenBytes of) {
  const int64_t S = m.streams, D = m.width, sublayers = 2 * m.held_layers();
  if (!m.has_streams()) return 0;
  if (!m.is_paper_form()) return 4 * m.held_layers() * (S + 1) * D;
  const int64_t interval = stream_interval(m, train.stream_interval);
  const int64_t kept = (sublayers + interval - 1) / interval, again = interval > 1 ? interval : 0;
  return of.stream * ((kept + again) * S + sublayers) * D + 4 * sublayers * (2 * (S * S + 2 * S) + 1);
}

// The most that a backward pass holds for a block beside what was kept: gradients on their way to its input, or streams',
// and of its widest products.
int64_t passing_bytes(const ModelConfig& m, TokenBytes of, int64_t tokens) {
  const int64_t D = m.width, along = of.master * D + (of.compute == of.master ? 0 : 2 * of.compute * D);
  const int64_t product = of.compute * m.mlp_width * D / tokens;
  const int64_t mlp = m.is_llama() ? 2 * of.compute * m.mlp_width : of.compute * m.mlp_width + product;
  // A gradient of all tokens; its copy by ranks, unless an MLP with gates holds more before; and two shares where that is most.
  const bool wide = of.compute == of.master, gated = m.is_llama();
  const int64_t copies = (wide && gated ? 0 : of.compute * D) + (wide && !gated ? 2 * of.master * D / of.parts : 0);
  const int64_t gathered = of.shares() ? of.compute * D + copies : 0;
  return mlp + gathered + (m.has_streams() ? of.stream * m.streams * D : along) / of.parts;
}

// What the last block left, in the public form.
int64_t last_streams_bytes(const ModelConfig& m, TokenBytes of) {
  return m.has_streams() && !m.is_paper_form() ? of.master * m.streams * m.width / of.parts : 0;
}

// Between blocks: gradients of streams before and after they are mixed, of what is read and of what is written.
int64_t mixing_bytes(const ModelConfig& m, TokenBytes of) {
  return m.has_streams() ? of.stream * (2 * m.streams + 2) * m.width / of.parts + last_streams_bytes(m, of) : 0;
}

// Around the loss: logits, whose memory becomes their gradient's, the last norm's input, output and its gradient, and the
// gradient of the head's weight, which is made apart.
int64_t head_bytes(const ModelConfig& m, TokenBytes of, int64_t tokens) {
  if (!m.holds_head()) return 0;
  const int64_t D = m.width, along = of.compute == of.master ? 0 : of.master * D;
  return of.compute * (m.vocabulary + 2 * D) + (of.master * D + along) / of.parts + of.compute * m.vocabulary * D / tokens +
         last_streams_bytes(m, of);
}

// Of an attention whose keys go round: keys and values of two ranks, gradients of three, sums of rows.
int64_t ring_bytes(const ModelConfig& m, TokenBytes of) {
  return 2 * m.key_value_width() * (2 * of.compute + 3 * of.master) + of.master * m.query_width();
}

// Of a stage of a pipeline besides: the gradient that it hands back; of streams also the one that comes and, where blocks are computed
// again meanwhile, what was handed on last.
int64_t handed_bytes(const ModelConfig& m, TokenBytes of, Recompute again) {
  const int64_t carried = (m.has_streams() ? of.stream * m.streams : of.master) * m.width / of.parts;
  const int64_t back = m.holds_embedding() ? 0 : 1, on = m.has_streams() && !m.holds_head() ? 1 : 0;
  return carried * (back + (again == Recompute::blocks ? 2 : 1) * on);
}

struct TokenPlan {
  int64_t kept = 0;    // for each pass between its halves
  int64_t beside = 0;  // once
};

TokenPlan plan_of(const ModelConfig& m, const TrainConfig& train, const PassesKept& passes) {
  const TokenBytes of{4, train.numeric() == Precision::bf16 ? 2 : 4, train.has_narrow_streams() ? 2 : 4, passes.parts};
  const int64_t layers = m.held_layers(), tokens = std::max<int64_t>(passes.tokens, 1);
  const int64_t streams = stream_bytes(m, train, of) / of.parts;
  const int64_t attention = attention_bytes(m, of, passes.rings), mlp = mlp_bytes(m, of);
  const Recompute again = train.recomputed();
  const int64_t handed = handed_bytes(m, of, again);
  const int64_t passing = passing_bytes(m, of, tokens) + (passes.rings ? ring_bytes(m, of) : 0) + handed;
  const int64_t outside = std::max(head_bytes(m, of, tokens), mixing_bytes(m, of)) + handed;
  if (again == Recompute::none) return {layers * (attention + mlp) + streams, std::max(outside, passing)};
  // What the attention gives is kept where the norm behind it reads the sum. It is made again when what its block's MLP kept
  // has gone.
  if (again == Recompute::attention) {
    const int64_t turned = of.master * m.width + 2 * of.compute * (m.query_width() + m.key_value_width());
    return {layers * (of.master * m.width / of.parts + mlp) + streams, std::max({outside, passing, attention + turned - mlp + handed})};
  }
  const bool apart = m.has_streams() && m.is_paper_form();  // each sublayer is computed again by itself
  const int64_t inputs = layers * (apart ? 2 : 1) * of.master * m.width / of.parts;
  return {inputs + streams, std::max(outside, (apart ? std::max(attention, mlp) : attention + mlp) + passing)};
}

// What a hash memory keeps of a token: rows, their numbers and a value for each layer; for each stream what it reads, key, both
// norms' results, gated value, its norm and its convolution; of several streams the sum as well.
int64_t memory_bytes_per_token(const ModelConfig& m, const HashMemoryConfig& memory, int64_t compute) {
  const int64_t S = memory_streams(m), stream = m.has_streams() ? 7 + 1 : 7;
  return int64_t(memory.layers.size()) * (compute * memory.input_width() + 8 * memory.tables() + 4 * m.width * (1 + S * stream));
}

}  // namespace

BlockBytes block_bytes(const ModelConfig& model, const TrainConfig& train, int64_t tokens) {
  const TokenBytes of{4, train.numeric() == Precision::bf16 ? 2 : 4};
  const int64_t attention = attention_bytes(model, of, false), at_a_time = std::max<int64_t>(tokens, 1);
  const int64_t D = model.width, q = model.query_width(), kv = model.key_value_width();
  const int64_t mlp = (model.is_llama() ? 3 : 2) * model.mlp_width;
  const int64_t forward = 2 * of.master * D + of.compute * (2 * D + q + 4 * kv + mlp);
  return {attention + mlp_bytes(model, of), attention, of.master * D, passing_bytes(model, of, at_a_time), forward,
          head_bytes(model, of, at_a_time)};
}

int64_t fetched_bytes(const ModelConfig& model, const HashMemoryConfig& memory, int64_t tokens) {
  if (!memory.enabled()) return 0;
  const std::vector<double> named = expected_rows(memory, model.vocabulary, tokens);
  const double rows = std::accumulate(named.begin(), named.end(), 0.0);
  return std::llround(rows) * (8 + 2 * 4 * memory.row_width());
}

int64_t activation_bytes(const ModelConfig& model, const TrainConfig& train, const HashMemoryConfig& memory,
                         const PassesKept& passes) {
  const TokenPlan plan = plan_of(model, train, passes);
  const int64_t of_memory = memory_bytes_per_token(model, memory, train.numeric() == Precision::bf16 ? 2 : 4);
  return int64_t(double(passes.tokens) * (double(plan.kept + of_memory) * passes.at_a_time + double(plan.beside)));
}

}  // namespace braid
