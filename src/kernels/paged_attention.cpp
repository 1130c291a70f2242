// SPDX-License-Identifier: Apache-2.0
#include "kernels/paged_attention.h"

#include "base/error.h"
#include "kernels/cpu_level.h"
#include "kernels/paged_attention_cpu.h"
#include "kernels/paged_attention_cuda.h"

namespace braid::kernels {

namespace {

const PagedKernels& cpu() {
  if (has_tiles()) return level_amx::paged;
  switch (chosen_cpu_level()) {
    case CpuLevel::avx512: return level_avx512::paged;
    case CpuLevel::avx2: return level_avx2::paged;
    default: return level_base::paged;
  }
}

bool is_empty(const PagedShape& s) {
  if (s.key_value_heads < 1 || s.width < 1 || s.heads % s.key_value_heads != 0) {
    throw Error(
        str("attention: ", s.heads, " heads of width ", s.width, " over ", s.key_value_heads, " key-value heads"));
  }
  if (s.block_tokens < 1 || s.longest > s.table_width * s.block_tokens) {
    throw Error(str("attention: ", s.longest, " keys in ", s.table_width, " blocks of ", s.block_tokens));
  }
  return s.rows == 0 || s.heads == 0;
}

}  // namespace

void store_paged(Launch launch, const PagedShape& shape, Element element, const PagedInputs& in, void* keys,
                 void* values) {
  if (is_empty(shape)) return;
  if (launch.place == Place::cuda) return store_paged_cuda(launch, shape, element, in, keys, values);
  cpu().store(shape, element, in, keys, values);
}

void paged_attention(Launch launch, const PagedShape& shape, Element element, const PagedInputs& in, const void* keys,
                     const void* values, void* out, void* scratch) {
  if (is_empty(shape)) return;
  if (launch.place == Place::cuda) {
    return paged_attention_cuda(launch, shape, element, in, keys, values, out, scratch);
  }
  cpu().attention(shape, element, in, keys, values, out);
}

void paged_attention_part(const PagedShape& shape, Element element, const PagedInputs& in, const void* keys,
                          const void* values, void* out, int64_t thread, int64_t threads) {
  cpu().attention_part(shape, element, in, keys, values, out, thread, threads);
}

int64_t paged_scratch_bytes(Launch launch, const PagedShape& shape, Element element) {
  return launch.place == Place::cuda && !is_empty(shape) ? paged_scratch_bytes_cuda(shape, element) : 0;
}

}  // namespace braid::kernels
