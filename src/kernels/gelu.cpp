// SPDX-License-Identifier: Apache-2.0
#include "kernels/gelu.h"

#include "kernels/cpu_level.h"
#include "kernels/gelu_cpu.h"
#include "kernels/gelu_cuda.h"

namespace braid::kernels {

namespace {

const GeluKernels& cpu() {
  switch (chosen_cpu_level()) {
    case CpuLevel::avx512: return level_avx512::gelu;
    case CpuLevel::avx2: return level_avx2::gelu;
    default: return level_base::gelu;
  }
}

}  // namespace

void gelu(Launch launch, int64_t count, Element element, const void* x, void* y, void* slope) {
  if (count == 0) return;
  if (launch.place == Place::cuda) return gelu_cuda(launch, count, element, x, y, slope);
  cpu().forward(count, element, x, y, slope);
}

void gelu_backward(Launch launch, int64_t count, Element element, const void* dy, const void* slope, void* dx) {
  if (count == 0) return;
  if (launch.place == Place::cuda) return gelu_backward_cuda(launch, count, element, dy, slope, dx);
  cpu().backward(count, element, dy, slope, dx);
}

}  // namespace braid::kernels
