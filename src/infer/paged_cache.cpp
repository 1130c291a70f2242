// SPDX-License-Identifier: Apache-2.0
#include "infer/paged_cache.h"

#include "base/error.h"
#include "nn/device_memory.h"
#include "nn/precompiled.h"

namespace braid {

HashMemory* memory_of(const Transformer& model) { return dynamic_cast<HashMemory*>(model.block_input()); }

int64_t PagedCache::bytes() const {
  size_t sum = keys.nbytes() + values.nbytes() + (ids.defined() ? ids.nbytes() : 0);
  for (const at::Tensor& one : heard) sum += one.nbytes();
  return static_cast<int64_t>(sum);
}

namespace {

PagedCache zeros_for(Transformer& model, int64_t blocks, int64_t block_tokens) {
  const ModelConfig& config = model.config();
  const Precision precision = model.parameters().precision();
  const auto options = at::TensorOptions().device(model.device()).dtype(compute_type(precision));
  const int64_t L = config.layers, heads = config.key_value_heads(), width = config.head_width();
  PagedCache cache{at::zeros({L, blocks, heads, width, block_tokens}, options),
                   at::zeros({L, blocks, heads, block_tokens, width}, options),
                   block_tokens,
                   {},
                   {},
                   -1};
  const HashMemory* memory = memory_of(model);
  if (!memory) return cache;
  cache.ids = at::zeros({blocks, block_tokens}, options.dtype(at::kLong));
  for (int64_t number = 0; number < memory->convolutions(); ++number) {
    cache.heard.push_back(at::zeros({blocks, block_tokens, config.width}, options.dtype(master_type(precision))));
  }
  return cache;
}

double bytes_of(Transformer& model) {  // of one token
  const ModelConfig& config = model.config();
  const Precision precision = model.parameters().precision();
  const double keys =
      2.0 * double(config.layers * config.key_value_width()) * double(at::elementSize(compute_type(precision)));
  const HashMemory* memory = memory_of(model);
  if (!memory) return keys;
  return keys + double(sizeof(int64_t)) +
         double(memory->convolutions() * config.width) * double(at::elementSize(master_type(precision)));
}

}  // namespace

PagedCache make_paged_cache(Transformer& model, int64_t blocks, int64_t block_tokens, bool with_spare) {
  try {
    PagedCache cache = zeros_for(model, blocks + (with_spare ? 1 : 0), block_tokens);
    if (with_spare) cache.spare_block = blocks;
    return cache;
  } catch (const std::exception& problem) {
    if (!is_out_of_memory(problem)) throw;
    throw Error(str("no memory on ", model.device().str(), " for keys and values of ", blocks * block_tokens,
                    " tokens, ", bytes_of(model) * double(blocks * block_tokens) / (1 << 30), " GiB"));
  }
}

}  // namespace braid
