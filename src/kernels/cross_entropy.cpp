// SPDX-License-Identifier: Apache-2.0
#include "kernels/cross_entropy.h"

#include "base/error.h"
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

// On the CPU a target outside the vocabulary is an error; the CUDA twin, which cannot look without a synchronisation,
// makes the row's loss NaN.
void check_targets(int64_t rows, int64_t vocabulary, const int64_t* targets) {
  for (int64_t row = 0; row < rows; ++row) {
    if ((targets[row] >= 0 && targets[row] < vocabulary) || targets[row] == -100) continue;
    throw Error(str("cross entropy: target ", targets[row], " of row ", row, ": expected 0 to ", vocabulary - 1,
                    ", or -100 for none"));
  }
}

}  // namespace

void cross_entropy(Launch launch, Element element, int64_t rows, int64_t vocabulary, const void* logits,
                   const int64_t* targets, double scale, LossSums* sums, void* dlogits) {
  if (rows == 0) return;
  if (vocabulary < 1) throw Error(str("cross entropy: expected a vocabulary of at least 1, got ", vocabulary));
  if (launch.place == Place::cuda) {
    return cross_entropy_cuda(launch, element, rows, vocabulary, logits, targets, scale, sums, dlogits);
  }
  check_targets(rows, vocabulary, targets);
  cpu()(element, rows, vocabulary, logits, targets, scale, sums, dlogits);
}

}  // namespace braid::kernels
