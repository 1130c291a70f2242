// SPDX-License-Identifier: Apache-2.0
// The shape of a model, as it stands in the [model] table of a configuration.
#pragma once

#include <cstdint>
#include <string>

#include "base/config.h"

namespace braid {

struct ModelConfig {
  // poc: LayerNorm, learned positions, GELU, biases (softwarewrighter/mHC-poc).
  // llama: RMSNorm, rotary positions, SwiGLU, grouped-query attention, no biases.
  std::string dialect = "poc";
  int64_t layers = 12, width = 256, heads = 4, kv_heads = 0, mlp_width = 1024;  // kv_heads 0: as many as heads
  int64_t vocabulary = 256, context = 128;
  std::string attention = "sdpa";       // standard | sdpa
  std::string attention_start = "own";  // own | standard | sdpa: whose first values the poc dialect draws
  std::string residual = "residual";    // residual | hc | mhc
  int64_t streams = 4, sinkhorn_iterations = 20;
  bool tie_embeddings = false;
  double rope_theta = 10000.0, norm_epsilon = 1e-5;

  bool is_llama() const { return dialect == "llama"; }
  int64_t head_width() const { return width / heads; }
  int64_t key_value_heads() const { return kv_heads > 0 ? kv_heads : heads; }
  bool has_streams() const { return residual != "residual"; }

  void describe(ConfigSection& section);
  // Shapes that cannot be built: a UsageError that starts with `where` ("file.toml:7" or "").
  void check(const ConfigDocument& document) const;
};

}  // namespace braid
