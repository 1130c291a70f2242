// SPDX-License-Identifier: Apache-2.0
#include "nn/block_input.h"

#include "nn/precompiled.h"

namespace braid {

TextTokens tokens_of(const at::Tensor& ids, const at::Tensor& segments) {
  const at::Tensor places = at::arange(ids.size(1), ids.options()).expand_as(ids);
  if (!segments.defined() || ids.size(1) == 0) return {ids, places};
  const at::Tensor begins = at::ones_like(ids, at::kBool);  // of a text
  begins.slice(1, 1).copy_(segments.slice(1, 1) != segments.slice(1, 0, -1));
  const at::Tensor first = std::get<0>(at::cummax(at::where(begins, places, at::zeros_like(places)), 1));
  return {ids, places - first};
}

ResidualState with_addition(ResidualConnection& residual, const ResidualState& state, BlockInput* added, int64_t layer,
                            BlockInputPast* past) {
  const at::Tensor y = added ? added->addition(layer, state.carried().to(state.input.scalar_type()), past) : at::Tensor();
  return y.defined() ? residual.add(state, y, layer * residual.sublayers_per_block()) : state;
}

}  // namespace braid
