// SPDX-License-Identifier: Apache-2.0
#include "infer/kv_cache.h"

#include <algorithm>

#include "nn/precompiled.h"

namespace braid {

bool KvCache::is_padded() const {
  return std::any_of(padding.begin(), padding.end(), [](int64_t slots) { return slots > 0; });
}

KvCache make_kv_cache(Transformer& model, std::vector<int64_t> padding, int64_t slots) {
  const ModelConfig& config = model.config();
  const auto options = at::TensorOptions().device(model.device()).dtype(compute_type(model.parameters().precision()));
  const auto batch = static_cast<int64_t>(padding.size());
  const std::vector<int64_t> shape = {config.layers, batch, config.key_value_heads(), slots, config.head_width()};
  return {at::zeros(shape, options), at::zeros(shape, options), std::move(padding), 0, {}};
}

int64_t position_bytes(Transformer& model) {
  const ModelConfig& config = model.config();
  const int64_t element = at::elementSize(compute_type(model.parameters().precision()));
  return 2 * config.layers * config.key_value_width() * element;
}

}  // namespace braid
