// SPDX-License-Identifier: Apache-2.0
#include "nn/mlp.h"

#include "nn/precompiled.h"

namespace braid {

Mlp make_mlp(ParameterSet& set, const std::string& name, const ModelConfig& config) {
  Mlp layer;
  layer.gated = config.is_llama();
  const bool bias = !layer.gated;
  layer.in = make_linear(set, name + "1", config.width, (layer.gated ? 2 : 1) * config.mlp_width, bias);
  layer.out = make_linear(set, name + "2", config.mlp_width, config.width, bias);
  return layer;
}

at::Tensor feed_forward(const at::Tensor& x, const Mlp& layer) {
  const at::Tensor inner = linear(x, layer.in);
  if (!layer.gated) return linear(at::gelu(inner), layer.out);
  const auto halves = inner.chunk(2, -1);
  return linear(at::silu(halves[0]) * halves[1], layer.out);
}

}  // namespace braid
