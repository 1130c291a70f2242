// SPDX-License-Identifier: Apache-2.0
// How much memory a run needs and uses, by kind, and the one line a user gets when there is not enough.
#pragma once

#include <cstdint>
#include <string>

#include "nn/device_memory.h"
#include "nn/hash_memory_config.h"
#include "nn/lora_config.h"
#include "optim/optim_config.h"
#include "parallel/parallel_config.h"
#include "train/train_config.h"

namespace braid {

// Bytes on one rank, of its device where nothing else is said.
struct MemoryPlan {
  int64_t quantised = 0;  // of the weights: those in NF4
  int64_t weights = 0, gradients = 0, optimiser = 0, activations = 0;
  int64_t passing = 0;  // spread weights and gradients while they are whole within a step, at most
  int64_t host = 0;     // beside them, in the host's memory: masters and moments of optim.offload
  int64_t total() const { return weights + gradients + optimiser + activations + passing; }
};

// Elements of all weights that are here (ModelConfig::held), without building the model.
int64_t count_parameters(const ModelConfig& model);
// Activations are the most that tensors take within a step beside the others, for one micro-batch of `samples`, or for a rank's
// tokens of them: within 5 % on CPUs, where it is the model's own weights that are trained.
// Where the model's own weights are frozen: no gradients, no moments, matrices in the compute type alone, or in NF4. With
// recomputation of every block the input is kept, and all activations of one block. The table of a hash memory is
// spread over `ranks`, which hold the same, and of trained matrices what `parallel` says (parallel/shard_plan.h). A `model` that
// is a stage of a pipeline (parallel/pipeline_schedule.h) keeps several micro-batches at a time.
MemoryPlan plan_memory(const ModelConfig& model, const LoraConfig& lora, const HashMemoryConfig& memory,
                       const OptimConfig& optim, const TrainConfig& train, const ParallelConfig& parallel,
                       int64_t samples, int ranks, int64_t stage = 0);
// Whether the model's own weights are trained, or only what is put on it.
bool trains_model(const LoraConfig& lora, const HashMemoryConfig& memory);
// Elements that are trained, and all: the model's, the adapters' and the hash memory's.
int64_t count_trainable(const ModelConfig& model, const LoraConfig& lora, const HashMemoryConfig& memory);
int64_t count_all(const ModelConfig& model, const LoraConfig& lora, const HashMemoryConfig& memory);

std::string describe_memory(const MemoryPlan& plan);   // "weights 18.4 MiB, gradients …, together … "
std::string human_bytes(int64_t bytes);
std::string share_text(int64_t part, int64_t whole);  // "1.78 %"
// The settings that lower the largest part.
std::string memory_advice(const MemoryPlan& plan, const TrainConfig& train);

// Throws Error, one line with rank, device and bytes by kind, when the plan cannot fit.
void require_memory(const MemoryPlan& plan, const TrainConfig& train, const at::Device& device, int rank,
                    int ranks_on_host);

// Lets the C library keep freed memory: activations are freed and allocated again every step, and asking the kernel for
// each (and for its zeroed pages) costs a twentieth of a small step on CPUs. Asked for before a model is made.
void keep_freed_memory();

}  // namespace braid
