// SPDX-License-Identifier: Apache-2.0
// First values of residual connections.
#pragma once

#include <cstdint>

#include "nn/model_config.h"
#include "nn/parameter.h"

namespace braid {

// The mix.* parameters of a model with streams.
//   poc form: 2 I - 1 for all logits.
//   HC: projections 0, scales 0.01, B = 1, A_m one-hot at stream (sublayer mod S), A_r = I (arXiv 2409.19606, section 3.3):
//   a residual network that reads one stream at a time.
//   mHC: projections 0, scales 0.01, write biases 0, and by config.connection_start
//     home:     read bias 3 at stream (sublayer mod S) and -3 elsewhere, mixing bias 6 I - 3 (read of appendix A.6 of
//               arXiv 2512.24880 in PaddleFleet): reads 0.953 and 0.047, writes 1, mixing 0.9926 and 0.0025 at S = 4
//     identity: read bias 0, mixing as above
//     zeros:    read and mixing bias 0, which averages the streams
//     identity_random, zeros_random: the same biases, but projections Normal(0, 1 / sqrt(S D)), each element a function
//               of (seed, parameter name, element) like the other weights. Without them the streams of these two starts
//               stay equal for ever: equal streams give the coefficients of all streams the same gradient.
//               (Megatron-Core's mHC begins so, with Xavier's deviation and biases of zero.)
//   With permutations the identity's bias is the one that gives the same mixing matrix as 6 I - 3 does.
// A learned exit begins as the mean.
void start_connections(ParameterSet& set, const ModelConfig& config, int64_t seed);

}  // namespace braid
