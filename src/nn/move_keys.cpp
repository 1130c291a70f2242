// SPDX-License-Identifier: Apache-2.0
#include "nn/move_keys.h"

#include "nn/precompiled.h"

namespace braid {

namespace {

// Of a turn by `distance` positions, without a scale.
RotaryTable turn_by(const at::Tensor& distance, const ModelConfig& config, at::ScalarType type) {
  const at::Tensor rows = distance.dim() == 1 ? distance.unsqueeze(0) : distance;
  const at::Tensor half = rows.to(type).unsqueeze(-1) * rotary_frequencies(config, distance.options().dtype(type));
  const at::Tensor angles = at::cat({half, half}, -1).unsqueeze(1);
  return {angles.cos(), angles.sin()};
}

}  // namespace

at::Tensor move_keys(const at::Tensor& keys, const at::Tensor& from, const at::Tensor& to, const ModelConfig& config,
                     at::ScalarType type) {
  return rotate(keys, turn_by(to - from, config, type));
}

at::Tensor move_past(const at::Tensor& kept, int64_t by, const ModelConfig& config, at::ScalarType type) {
  const at::Tensor distance = at::full({1}, by, kept.options().dtype(at::kLong));
  const at::Tensor keys = kept.select(2, 0);
  const at::Tensor moved = rotate(keys.flatten(0, 1), turn_by(distance, config, type)).view(keys.sizes());
  return at::stack({moved, kept.select(2, 1)}, 2);
}

}  // namespace braid
