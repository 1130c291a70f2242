// SPDX-License-Identifier: Apache-2.0
// How long a planned step takes: what it computes, and what of its messages that does not hide.
#pragma once

#include "experiments/layout_plan.h"

namespace braid {

// Floating-point operations of training on one token, forward and backward: 6 for a weight in a product, 12 for a layer,
// width of the queries and position (Chowdhery et al., PaLM, arXiv 2204.02311, appendix B).
double flops_per_token(const ModelConfig& model);
// The same where weights may be frozen, which then have no gradients, a third of what weights take; what is put on them is
// trained.
double operations_per_token(const ModelConfig& model, const LoraConfig& lora, const HashMemoryConfig& memory);

// What recomputation multiplies the work of a step by: a forward pass is a third of it.
double work_with(Recompute again, const ModelConfig& model);

// Gradients leave while the backward pass, two thirds of the work, goes on: of every micro-batch where each sends its own,
// else of the last. Gathered weights come in what is left of the time that blocks take, updated ones while the first
// micro-batch goes forward; activations, rows of a table and gists are waited for.
double waiting_seconds(const LayoutPlan& plan, const ModelConfig& model, const ClusterConfig& cluster, int64_t passes);

// Gradients come to the host's memory and updated weights go back; moments and masters are read there and written, which is
// about three times what they take.
double host_seconds(const LayoutPlan& plan, const ClusterConfig& cluster);

}  // namespace braid
