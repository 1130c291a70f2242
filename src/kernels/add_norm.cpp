// SPDX-License-Identifier: Apache-2.0
#include "kernels/add_norm.h"

#include "base/error.h"
#include "kernels/add_norm_cpu.h"
#include "kernels/add_norm_cuda.h"
#include "kernels/cpu_level.h"

namespace braid::kernels {

namespace {

const AddNormKernels& cpu() {
  switch (chosen_cpu_level()) {
    case CpuLevel::avx512: return level_avx512::add_norm;
    case CpuLevel::avx2: return level_avx2::add_norm;
    default: return level_base::add_norm;
  }
}

}  // namespace

void add_norm(Launch launch, NormShape shape, Element element, const void* x, const void* f, const void* weight,
              const void* bias, void* u, void* y, void* mean, void* rstd) {
  if (shape.width < 1) throw Error(str("norm: expected a width of at least 1, got ", shape.width));
  if (shape.rows == 0) return;
  if (launch.place == Place::cuda) {
    return add_norm_cuda(launch, shape, element, x, f, weight, bias, u, y, mean, rstd);
  }
  cpu().forward(shape, element, x, f, weight, bias, u, y, mean, rstd);
}

void add_norm_alone(NormShape shape, Element element, const void* x, const void* f, const void* weight, const void* bias,
                    void* u, void* y, void* mean, void* rstd) {
  cpu().alone(shape, element, x, f, weight, bias, u, y, mean, rstd);
}

void add_norm_backward(Launch launch, NormShape shape, Element element, const void* u, const void* weight,
                       const void* mean, const void* rstd, const void* dy, const void* du, void* dx, void* df,
                       void* dweight, void* dbias) {
  if (shape.rows == 0) return;
  if (launch.place == Place::cuda) {
    return add_norm_backward_cuda(launch, shape, element, u, weight, mean, rstd, dy, du, dx, df, dweight, dbias);
  }
  cpu().backward(shape, element, u, weight, mean, rstd, dy, du, dx, df, dweight, dbias);
}

}  // namespace braid::kernels
