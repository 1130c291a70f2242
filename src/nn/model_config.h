// SPDX-License-Identifier: Apache-2.0
// The shape of a model, as it stands in the [model] table of a configuration.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/config.h"

namespace braid {

// How rotary angles of a model trained on a shorter context are stretched; the formulas are in nn/rotary.cpp.
struct RopeScaling {
  std::string kind = "none";                                  // none | linear | llama3 | yarn
  double factor = 1.0;                                        // how many times longer the context is now
  int64_t original_context = 0;                               // llama3, yarn: before that [tokens]
  double low_frequency = 1.0, high_frequency = 4.0;           // llama3
  double beta_fast = 32.0, beta_slow = 1.0, attention = 0.0;  // yarn; attention 0: 0.1 ln(factor) + 1

  void describe(ConfigSection& section);
};

// Neighbouring blocks of a model.
struct LayerRange {
  int64_t first = 0, count = 0;
  int64_t end() const { return first + count; }
  bool has(int64_t layer) const { return layer >= first && layer < end(); }
};

struct ModelConfig {
  std::string path;  // folder of a Hugging Face model that a run begins with (experiments/pretrained.h), "" for none
  // poc: LayerNorm, learned positions, GELU, biases (softwarewrighter/mHC-poc).
  // llama: RMSNorm, rotary positions, SwiGLU, grouped-query attention, no biases.
  std::string dialect = "poc";
  int64_t layers = 12, width = 256, heads = 4, kv_heads = 0, mlp_width = 1024;  // kv_heads 0: as many as heads
  int64_t vocabulary = 256, context = 128;
  int64_t own_head_width = 0;           // 0: width / heads
  std::string attention = "sdpa";       // standard | sdpa
  std::string attention_start = "own";  // own | standard | sdpa: whose first values the poc dialect draws
  std::string residual = "residual";    // residual | hc | mhc
  std::string connection_form = "poc";  // poc | paper: which program's hc and mhc (nn/residual.h)
  int64_t streams = 4, sinkhorn_iterations = 20;
  std::string manifold = "sinkhorn";      // sinkhorn | permutations: mhc in the paper's form
  std::string connection_start = "home";  // home | zeros | identity | zeros_random | identity_random: the same
  std::string stream_exit = "sum";        // sum | mean | learned: the paper's form
  bool tie_embeddings = false;
  double rope_theta = 10000.0, norm_epsilon = 1e-5;
  RopeScaling rope;
  std::string quantise = "none";  // none | nf4: frozen projections in 4 bits (nn/quantised_weight.h)
  bool double_quantise = true;    // their absmax in 8 bits
  std::vector<std::string> dense_modules = {"lm_head"};  // projections that stay as they are (QuantisedProjections)
  // Of a model whose depth is cut the layers that are here, in order; empty: all. Embedding and positions are where the first
  // layer is, the last norm and the head (a tied one as well) where the last is.
  std::vector<LayerRange> held;

  bool is_llama() const { return dialect == "llama"; }
  int64_t head_width() const { return own_head_width > 0 ? own_head_width : width / heads; }
  int64_t query_width() const { return heads * head_width(); }
  int64_t key_value_width() const { return key_value_heads() * head_width(); }
  int64_t key_value_heads() const { return kv_heads > 0 ? kv_heads : heads; }
  bool is_quantised() const { return quantise != "none"; }
  bool is_paper_form() const { return connection_form == "paper"; }
  // The paper's form of one stream is the plain residual.
  bool has_streams() const { return residual != "residual" && !(is_paper_form() && streams == 1); }

  bool holds(int64_t layer) const;
  bool holds_embedding() const { return holds(0); }
  bool holds_head() const { return holds(layers - 1); }
  std::vector<LayerRange> held_ranges() const;
  int64_t held_layers() const;

  // Matrices that are made doubly stochastic in one of several ways, and those that iterations of Sinkhorn make.
  bool has_manifold() const { return residual == "mhc" && is_paper_form(); }
  bool iterates() const { return residual == "mhc" && !(is_paper_form() && manifold == "permutations"); }

  void describe(ConfigSection& section);
  // Shapes that cannot be built: a UsageError that starts with `where` ("file.toml:7" or "").
  void check(const ConfigDocument& document) const;

 private:
  void check_connection(const ConfigDocument& document) const;
};

}  // namespace braid
