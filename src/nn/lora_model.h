// SPDX-License-Identifier: Apache-2.0
// Low-rank adapters put on a llama-dialect model from outside: its layers do not know of them.
#pragma once

#include <memory>
#include <vector>

#include "nn/lora.h"
#include "nn/lora_config.h"
#include "nn/transformer.h"

namespace braid {

// Adapters, and copies of modules that are trained in full, on a model whose own weights no longer train. They are on
// until set_enabled(false), which gives the base model back without a second one.
class LoraModel {
 public:
  // A uniform in +-1/sqrt(in) by (seed, name, element), B zero: the model computes what it did. The copies and DoRA's
  // magnitudes begin with take_base_weights(). Frozen adapters, for inference, have no memory for gradients.
  LoraModel(Transformer& model, const LoraConfig& config, uint64_t seed, Weights weights = Weights::trained);
  ~LoraModel();
  LoraModel(const LoraModel&) = delete;
  LoraModel& operator=(const LoraModel&) = delete;

  // What is trained, under peft's names: "layers.3.self_attn.q_proj.lora_A.weight", "…lora_magnitude_vector",
  // "lm_head.weight".
  ParameterSet& parameters() { return parameters_; }
  const LoraConfig& config() const { return config_; }
  const std::vector<LoraTarget>& targets() const { return targets_; }

  // Once the model's weights are in place.
  void take_base_weights();
  void set_position(DropoutPosition position) { *position_ = position; }
  void set_enabled(bool enabled);
  // The adapters become part of the model's own dense weights, computed in the masters' type and then rounded to what
  // these are stored in; and back. Between the two they are off. UsageError: a weight that is not dense.
  void merge();
  void unmerge();

 private:
  struct Attached {
    Linear* linear = nullptr;
    std::shared_ptr<LoraAdapter> adapter;
  };
  struct SavedModules {
    Parameter *embedding = nullptr, *head = nullptr;  // the trained copies
    Parameter* base_embedding = nullptr;
    std::shared_ptr<WeightSource> base_head;
  };

  void attach(uint64_t seed);
  LoraPart make_part(const LoraTarget& target, uint64_t seed);
  void save_modules();
  void fill_first_values(uint64_t seed);
  void use_saved_modules(bool copies);
  void merge_part(const LoraPart& part, Linear& linear, bool back);

  Transformer& model_;
  LoraConfig config_;
  std::vector<LoraTarget> targets_;
  ParameterSet parameters_;
  std::shared_ptr<DropoutPosition> position_ = std::make_shared<DropoutPosition>();
  std::vector<Attached> attached_;
  SavedModules saved_;
  std::vector<at::Tensor> factors_;  // DoRA's m / n while merged
};

}  // namespace braid
