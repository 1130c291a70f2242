// SPDX-License-Identifier: Apache-2.0
// First values of a model's weights.
#pragma once

#include <ATen/core/Generator.h>

#include "nn/transformer.h"

namespace braid {

// A private CPU generator seeded like torch.manual_seed(seed).
at::Generator seeded_generator(int64_t seed);

// PyTorch's own defaults, drawn in the order in which softwarewrighter/mHC-poc draws them, so that the same seed gives
// bit-equal tensors. The generator is left where that program's data stream begins. Of a model whose depth is cut all is
// drawn, by the shapes of the `whole` one, and what is here kept.
void initialise_poc(Transformer& model, at::Generator& generator);
void initialise_poc(Transformer& model, at::Generator& generator, const ModelConfig& whole);

// Normal(0, 0.02) matrices, the ones that write into the residual stream divided by sqrt(2 L) (GPT-2); norms 1. Each
// element is a pure function of (seed, parameter name, global element index).
void initialise_llama(Transformer& model, int64_t seed);

// Normal(0, 1 / sqrt(fan-in)) matrices, the ones that write into the residual stream divided by sqrt(2 L), embeddings
// Normal(0, 1), norms 1; drawn like those. A narrow model (width 64) that is to learn to compress comes off the ground
// with these; with 0.02 it does not.
void initialise_fan_in(Transformer& model, int64_t seed);

// Standard-normal values times `deviation`, or uniform ones in [-bound, bound), for what a parameter holds of a global
// tensor.
void fill_normal(Parameter& parameter, int64_t seed, double deviation);
void fill_uniform(Parameter& parameter, uint64_t seed, double bound);

}  // namespace braid
