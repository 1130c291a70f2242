// SPDX-License-Identifier: Apache-2.0
#include "kernels/skinny_product.h"

#include "base/error.h"
#include "kernels/cpu_level.h"
#include "kernels/row_products_cuda.h"
#include "kernels/skinny_product_cpu.h"

namespace braid::kernels {

namespace {

const SkinnyKernels& cpu() {
  switch (chosen_cpu_level()) {
    case CpuLevel::avx512: return level_avx512::skinny_product;
    case CpuLevel::avx2: return level_avx2::skinny_product;
    default: return level_base::skinny_product;
  }
}

}  // namespace

void skinny_product(Launch launch, Element element, const SkinnyShape& shape, const void* x, const void* weight,
                    const void* bias, void* y) {
  if (element == Element::float64) throw Error("products of few tokens are of float32 or bfloat16, not of float64");
  if (shape.tokens == 0 || shape.outputs == 0) return;
  if (launch.place == Place::cuda) {
    return row_product_cuda(launch, {{shape.outputs, shape.inputs, weight, {}}, shape.tokens, element, x}, bias, y);
  }
  if (element == Element::bfloat16 && has_bf16_pairs()) {
    return level_avx512bf16::skinny_product_bf16(shape, x, weight, bias, y);
  }
  cpu().product(element, shape, x, weight, bias, y);
}

void skinny_product_part(Element element, const SkinnyShape& shape, const void* x, const void* weight, void* y,
                         int64_t first, int64_t end) {
  if (element == Element::bfloat16 && has_bf16_pairs()) {
    return level_avx512bf16::skinny_product_part_bf16(shape, x, weight, y, first, end);
  }
  cpu().part(element, shape, x, weight, y, first, end);
}

}  // namespace braid::kernels
