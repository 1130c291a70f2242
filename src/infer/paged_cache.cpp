// SPDX-License-Identifier: Apache-2.0
#include "infer/paged_cache.h"

#include "base/error.h"
#include "nn/device_memory.h"
#include "nn/precompiled.h"

namespace braid {

PagedCache make_paged_cache(Transformer& model, int64_t blocks, int64_t block_tokens) {
  const ModelConfig& config = model.config();
  const auto options = at::TensorOptions().device(model.device()).dtype(compute_type(model.parameters().precision()));
  const int64_t L = config.layers, heads = config.key_value_heads(), width = config.head_width();
  try {
    return {at::zeros({L, blocks, heads, width, block_tokens}, options),
            at::zeros({L, blocks, heads, block_tokens, width}, options), block_tokens};
  } catch (const std::exception& problem) {
    if (!is_out_of_memory(problem)) throw;
    const double bytes =
        2.0 * double(L * heads * width * block_tokens) * double(blocks) * double(options.dtype().itemsize());
    throw Error(str("no memory on ", model.device().str(), " for keys and values of ", blocks * block_tokens,
                    " tokens, ", bytes / (1 << 30), " GiB"));
  }
}

}  // namespace braid
