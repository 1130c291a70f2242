// SPDX-License-Identifier: Apache-2.0
#include "kernels/workers.h"

#include <omp.h>

namespace braid::kernels {

void on_each_worker(const std::function<void()>& work) {
#pragma omp parallel
  if (omp_get_thread_num() > 0) work();
}

}  // namespace braid::kernels
