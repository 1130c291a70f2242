// SPDX-License-Identifier: Apache-2.0
// The feed-forward sublayer: GELU(x W1 + b1) W2 + b2 with the exact (erf) GELU, or SwiGLU (Shazeer, arXiv 2002.05202):
// (silu(x Wg) * (x Wu)) Wd, gate and up projections packed into one product.
#pragma once

#include <string>

#include "nn/linear.h"
#include "nn/model_config.h"

namespace braid {

struct Mlp {
  Linear in;   // [F, D], or [2F, D] (gate, then up)
  Linear out;  // [D, F]
  bool gated = false;
};

Mlp make_mlp(ParameterSet& set, const std::string& name, const ModelConfig& config);

// x [B, T, D] to [B, T, D].
at::Tensor feed_forward(const at::Tensor& x, const Mlp& layer);

}  // namespace braid
