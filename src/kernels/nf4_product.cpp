// SPDX-License-Identifier: Apache-2.0
#include "kernels/nf4_product.h"

#include "base/error.h"
#include "kernels/cpu_level.h"
#include "kernels/nf4_product_cpu.h"
#include "kernels/nf4_product_cuda.h"

namespace braid::kernels {

namespace {

const Nf4ProductKernels& cpu() {
  switch (chosen_cpu_level()) {
    case CpuLevel::avx512: return level_avx512::nf4_product;
    case CpuLevel::avx2: return level_avx2::nf4_product;
    default: return level_base::nf4_product;
  }
}

bool is_empty(const Nf4Matrix& w, int64_t tokens, Element element) {
  if (element == Element::float64) throw Error("NF4 products are of float32 or bfloat16, not of float64");
  return tokens == 0 || w.rows == 0 || w.columns == 0;
}

}  // namespace

void nf4_product(Launch launch, const Nf4Matrix& w, int64_t tokens, Element element, const void* x, void* y) {
  if (is_empty(w, tokens, element)) return;
  if (launch.place == Place::cuda) return nf4_product_cuda(launch, w, tokens, element, x, y);
  const bool pairs = element == Element::bfloat16 && w.columns % nf4_block == 0 && has_word_pairs();
  if (pairs) return level_avx512vnni::nf4_product_bf16(w, tokens, x, y);
  cpu().forward(w, tokens, element, x, y);
}

void nf4_product_part(const Nf4Matrix& w, int64_t tokens, Element element, const void* x, void* y, int64_t stride,
                      int64_t first, int64_t end) {
  if (element == Element::bfloat16 && has_word_pairs()) {
    return level_avx512vnni::nf4_product_part_bf16(w, tokens, x, y, stride, first, end);
  }
  cpu().part(w, tokens, element, x, y, stride, first, end);
}

void nf4_product_transposed(Launch launch, const Nf4Matrix& w, int64_t tokens, Element element, const void* dy,
                            void* dx) {
  if (is_empty(w, tokens, element)) return;
  if (launch.place == Place::cuda) return nf4_product_transposed_cuda(launch, w, tokens, element, dy, dx);
  cpu().transposed(w, tokens, element, dy, dx);
}

}  // namespace braid::kernels
