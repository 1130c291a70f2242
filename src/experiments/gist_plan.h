// SPDX-License-Identifier: Apache-2.0
// What steps of a run with [gist] send, keep and compute, known before it runs. They differ: by phase, and within a phase by the
// length and the number of segments and by how they are read, which are drawn for each step (gist_shape).
#pragma once

#include <vector>

#include "experiments/gist_config.h"
#include "experiments/rank_shapes.h"
#include "train/memory.h"

namespace braid {

struct GistStep {
  GistShape shape;
  int64_t question = 0;  // tokens behind a context, at most
  double share = 0;      // of all steps, where every phase takes all of its own
};

// All kinds of steps that the phases have, each once.
std::vector<GistStep> gist_steps(const RunConfig& config);

// Samples that a rank passes in such a step, the one with the most; passes are of train.micro_batch of them.
int64_t gist_samples(const RunConfig& config, const GistStep& step, int64_t data_ranks);

// Exactly what rank 0 hands to collectives (parallel/traffic.h).
Traffic gist_traffic(const RankShapes& shapes, const RunConfig& config, int64_t data_ranks, const GistStep& step);

// Floating-point operations of a rank, forward and backward, as flops_per_token counts them.
double gist_operations(const RunConfig& config, const GistStep& step, int64_t data_ranks);

// An estimate of the most that tensors take within such a step: questions are taken to be as long as they may be.
int64_t gist_activation_bytes(const RunConfig& config, const GistStep& step, int64_t data_ranks);

// Makes of a model's plan that of its run with gists: their vectors, and activations of the step that keeps the most.
void plan_gists(MemoryPlan& plan, const RunConfig& config, int64_t data_ranks);

}  // namespace braid
