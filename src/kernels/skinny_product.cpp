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

// A handful is faster without: then W is all that costs.
bool takes_tiles(Element element, const SkinnyShape& shape) {
  return shape.tokens > most_skinny_tokens && shape.tokens <= most_tiled_tokens && suits_tiles(element, shape.inputs);
}

}  // namespace

bool suits_tiles(Element element, int64_t inputs) {
  constexpr int64_t inputs_of_a_tile = 32;
  return element == Element::bfloat16 && inputs % inputs_of_a_tile == 0 && has_tiles();
}

void skinny_product(Launch launch, Element element, const SkinnyShape& shape, const void* x, const void* weight,
                    const void* bias, void* y) {
  if (element == Element::float64) throw Error("products of few tokens are of float32 or bfloat16, not of float64");
  if (shape.tokens == 0 || shape.outputs == 0) return;
  if (launch.place == Place::cuda) {
    return row_product_cuda(launch, {{shape.outputs, shape.inputs, weight, {}, {}}, shape.tokens, element, x}, bias, y);
  }
  if (takes_tiles(element, shape)) return level_amx::skinny_product_tiles(shape, x, weight, bias, y);
  if (element == Element::bfloat16 && has_bf16_pairs()) {
    return level_avx512bf16::skinny_product_bf16(shape, x, weight, bias, y);
  }
  cpu().product(element, shape, x, weight, bias, y);
}

void skinny_product_part(Element element, const SkinnyShape& shape, const void* x, const void* weight, void* y,
                         int64_t first, int64_t end) {
  if (takes_tiles(element, shape)) {
    return level_amx::skinny_product_part_tiles(shape, x, weight, nullptr, y, first, end);
  }
  if (element == Element::bfloat16 && has_bf16_pairs()) {
    return level_avx512bf16::skinny_product_part_bf16(shape, x, weight, y, first, end);
  }
  cpu().part(element, shape, x, weight, y, first, end);
}

}  // namespace braid::kernels
