// SPDX-License-Identifier: Apache-2.0
// Ways to spread a run over a cluster, each with what it needs and how long a step of it would take, without running it.
#pragma once

#include <vector>

#include "experiments/cluster.h"
#include "experiments/gist_plan.h"
#include "experiments/run_config.h"
#include "parallel/traffic.h"
#include "train/memory.h"

namespace braid {

struct Layout {
  int64_t data = 1;       // ranks, or groups of those that hold one model, that share the batch
  ParallelConfig parallel;
  int64_t micro_batch = 0;  // samples
  Recompute recompute = Recompute::none;
  bool offload = false;  // optim.offload
};

// A kind of step of a run with gists.
struct GistStepPlan {
  GistStep step;
  Traffic traffic;  // of a rank
};

struct LayoutPlan {
  Layout layout;
  MemoryPlan memory;           // of a rank
  Traffic traffic;             // of a rank and step; where steps differ the mean, as are seconds
  std::vector<GistStepPlan> steps;  // then each kind
  double compute_seconds = 0;  // of a step
  double waiting_seconds = 0;  // beside it, for other ranks
  double utilisation = 0;      // share of the cluster's products of this precision, recomputed ones not counted
  double step_seconds() const { return compute_seconds + waiting_seconds; }
};

// Whatever this cluster can be arranged as for the run, whether or not it fits into memory, fastest first; of equals that
// which sends less. Masters and moments are in host memory where the run asks for it, and where a layout would not fit without.
// UsageError: none is possible.
std::vector<LayoutPlan> plan_layouts(const RunConfig& config, const ClusterConfig& cluster);

bool fits(const LayoutPlan& plan, const ClusterConfig& cluster);

// Of layouts that differ only in micro-batch, recomputation and offloading the first that fits, or the smallest where none does.
std::vector<LayoutPlan> best_of_each(const std::vector<LayoutPlan>& plans, const ClusterConfig& cluster);

}  // namespace braid
