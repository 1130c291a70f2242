// SPDX-License-Identifier: Apache-2.0
#include "kernels/nf4.h"

#include "base/error.h"
#include "kernels/cpu_level.h"
#include "kernels/nf4_cpu.h"
#include "kernels/nf4_cuda.h"

namespace braid::kernels {

namespace {

const Nf4Kernels& cpu() {
  switch (chosen_cpu_level()) {
    case CpuLevel::avx512: return level_avx512::nf4;
    case CpuLevel::avx2: return level_avx2::nf4;
    default: return level_base::nf4;
  }
}

}  // namespace

void nf4_quantise(Launch launch, int64_t count, Element element, const void* x, uint8_t* packed, float* absmax) {
  if (element == Element::float64) throw Error("NF4 is made of float32 or bfloat16, not of float64");
  if (count == 0) return;
  if (launch.place == Place::cuda) return nf4_quantise_cuda(launch, count, element, x, packed, absmax);
  cpu().quantise(count, element, x, packed, absmax);
}

void nf4_nest(Launch launch, int64_t blocks, const float* absmax, float offset, uint8_t* codes, float* nested) {
  if (blocks == 0) return;
  if (launch.place == Place::cuda) return nf4_nest_cuda(launch, blocks, absmax, offset, codes, nested);
  cpu().nest(tables_of(signed_dynamic_map()), blocks, absmax, offset, codes, nested);
}

void nf4_dequantise(Launch launch, const Nf4Matrix& matrix, Rectangle box, Element element, void* out) {
  if (box.rows == 0 || box.columns == 0) return;
  if (launch.place == Place::cuda) return nf4_dequantise_cuda(launch, matrix, box, element, out);
  cpu().dequantise(matrix, box, element, out);
}

}  // namespace braid::kernels
