// SPDX-License-Identifier: Apache-2.0
#include "kernels/sums.h"

#include "kernels/cpu_level.h"
#include "kernels/sums_cpu.h"

namespace braid::kernels {

namespace {

const SumKernels& cpu() {
  switch (chosen_cpu_level()) {
    case CpuLevel::avx512: return level_avx512::sums;
    case CpuLevel::avx2: return level_avx2::sums;
    default: return level_base::sums;
  }
}

}  // namespace

void add_to(int64_t count, Element element, const void* x, void* sum) { cpu().add_to(count, element, x, sum); }

void add_column_sums(int64_t rows, int64_t width, Element element, const void* x, void* sum) {
  if (rows > 0 && width > 0) cpu().add_column_sums(rows, width, element, x, sum);
}

double sum_of_squares(int64_t count, Element element, const void* x) {
  return count > 0 ? cpu().sum_of_squares(count, element, x) : 0.0;
}

}  // namespace braid::kernels
