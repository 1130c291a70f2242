// SPDX-License-Identifier: Apache-2.0
// What each token's residual streams X [S, D] are read, written and mixed with at one sublayer, in the form of the papers,
// as differentiable functions of X and three parameters. D is the width, S the streams; projections begin at zero.
//   mHC (arXiv 2512.24880, section 4.2): with v = RMSNorm(vec(X)) and raw = scale (v projection) + bias, separately for
//     read, write and mixing: w = sigmoid(raw_w), c = 2 sigmoid(raw_c), H = doubly stochastic of raw_H (nn/manifold.h).
//   HC (arXiv 2409.19606, section 3): with raw = bias + scale tanh(RMSNorm(X_s) projection), a row for each stream s:
//     A_m, B and A_r, where w[s] = A_m[s], c[s] = B[s] and H[s, t] = A_r[t, s].
// The norms have no weights of their own, which the projection would absorb; their epsilon is the model's.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "nn/model_config.h"

namespace braid {

// Of one sublayer, in the type of X.
struct CoefficientWeights {
  at::Tensor projection;  // mHC [S D, S + S + R], R = S^2 or S!: to read, write, mixing; HC [D, 2 + S]
  at::Tensor scale;       // mHC [1, 3]: of read, write, mixing; HC [1, 2]: of read and mixing, of write
  at::Tensor bias;        // mHC [1, S + S + R]; HC [S, 2 + S]
};

struct CoefficientShapes {
  std::vector<int64_t> projection, scale, bias;
};
CoefficientShapes coefficient_shapes(const ModelConfig& config);

// Parameters of all connections of a model together, those of a learned exit included; either form.
int64_t connection_elements(const ModelConfig& config);

struct TokenCoefficients {
  at::Tensor read, write;  // [B, T, S]
  at::Tensor mix;          // [B, T, S, S]
};

// X [B, T, S, D], of config.residual's kind.
TokenCoefficients token_coefficients(const at::Tensor& X, const CoefficientWeights& weights, const ModelConfig& config);

// The weights of a learned exit, [B, T, S]: sigmoid(scale (v projection) + bias); projection [S D, S], scale [1, 1],
// bias [1, S].
at::Tensor exit_coefficients(const at::Tensor& X, const CoefficientWeights& weights, double epsilon);

}  // namespace braid
