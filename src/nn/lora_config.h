// SPDX-License-Identifier: Apache-2.0
// The [lora] table: low-rank adapters (Hu et al., arXiv 2106.09685) on a frozen model, and what of it is trained in full.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/config.h"
#include "nn/projection_shape.h"

namespace braid {

struct LoraConfig {
  std::string path;  // folder of an adapter in peft's format that a run begins with (experiments/pretrained.h), "" for none
  int64_t rank = 0;  // 0: no adapters, every weight is trained
  double alpha = 16, dropout = 0;
  std::vector<std::string> targets = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
  std::string rows = "all";                                // all | gist: which columns adapters act on (nn/gist.h)
  std::vector<int64_t> layers;                             // empty: all
  std::vector<std::string> rank_pattern, alpha_pattern;    // "layers.0.self_attn.q_proj=4"
  bool rank_stabilised = false;                            // scale alpha / sqrt(r) (Kalajdzievski, arXiv 2312.03732)
  bool dora = false;                                       // Liu et al., arXiv 2402.09353
  double b_rate = 1;                                       // LoRA+ (Hayou et al., arXiv 2402.12354)
  std::vector<std::string> saved_modules;                  // embed_tokens, lm_head

  bool enabled() const { return rank > 0; }
  bool on_gists() const { return rows == "gist"; }
  bool saves(const std::string& module) const;
  void describe(ConfigSection& section);
  // What cannot be: a UsageError that names key and value.
  void check(const ModelConfig& model) const;
};

// One projection that gets an adapter: y += scale B A x.
struct LoraTarget {
  ProjectionShape shape;
  int64_t rank = 0;
  double alpha = 0, scale = 0;
};

// In the order of the layers. Patterns are regular expressions for the end of a module's path, the first that matches counts.
std::vector<LoraTarget> lora_targets(const ModelConfig& model, const LoraConfig& lora);

// Elements that are trained: adapters, and copies of the modules that are trained in full.
int64_t lora_elements(const ModelConfig& model, const LoraConfig& lora);

}  // namespace braid
