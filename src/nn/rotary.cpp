// SPDX-License-Identifier: Apache-2.0
#include "nn/rotary.h"

#include "nn/precompiled.h"

namespace braid {

RotaryTable rotary_table(const at::Tensor& position_ids, int64_t head_width, double theta, at::ScalarType type) {
  const auto options = position_ids.options().dtype(type);
  const at::Tensor exponents = at::arange(0, head_width, 2, options) / double(head_width);
  const at::Tensor frequencies = at::pow(theta, exponents).reciprocal();
  const at::Tensor positions = position_ids.dim() == 1 ? position_ids.unsqueeze(0) : position_ids;
  const at::Tensor half = positions.to(type).unsqueeze(-1) * frequencies;  // [B, T, d/2]
  const at::Tensor angles = at::cat({half, half}, -1).unsqueeze(1);
  return {angles.cos(), angles.sin()};
}

at::Tensor rotate(const at::Tensor& x, const RotaryTable& table) {
  const at::Tensor wide = x.to(table.cosine.scalar_type());
  const auto halves = wide.chunk(2, -1);
  const at::Tensor turned = at::cat({-halves[1], halves[0]}, -1);
  return (wide * table.cosine + turned * table.sine).to(x.scalar_type());
}

}  // namespace braid
