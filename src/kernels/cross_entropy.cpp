// SPDX-License-Identifier: Apache-2.0
#include "kernels/cross_entropy.h"

#include "kernels/cpu_level.h"
#include "kernels/cross_entropy_cpu.h"
#include "kernels/cross_entropy_cuda.h"

namespace braid::kernels {

namespace {

CrossEntropyKernel cpu() {
  switch (chosen_cpu_level()) {
    case CpuLevel::avx512: return level_avx512::cross_entropy;
    case CpuLevel::avx2: return level_avx2::cross_entropy;
    default: return level_base::cross_entropy;
  }
}

}  // namespace

void cross_entropy(Launch launch, Element element, int64_t rows, int64_t vocabulary, const void* logits,
                   const int64_t* targets, double scale, LossSums* sums, void* dlogits) {
  if (rows == 0) return;
  if (launch.place == Place::cuda) {
    return cross_entropy_cuda(launch, element, rows, vocabulary, logits, targets, scale, sums, dlogits);
  }
  cpu()(element, rows, vocabulary, logits, targets, scale, sums, dlogits);
}

}  // namespace braid::kernels
