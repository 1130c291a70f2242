// SPDX-License-Identifier: Apache-2.0
#include "kernels/adamw8bit.h"

#include <cmath>

#include "kernels/adamw8bit_cpu.h"
#include "kernels/adamw8bit_cuda.h"
#include "kernels/cpu_level.h"

namespace braid::kernels {

namespace {

const AdamW8bitKernels& cpu() {
  switch (chosen_cpu_level()) {
    case CpuLevel::avx512: return level_avx512::adamw8bit;
    case CpuLevel::avx2: return level_avx2::adamw8bit;
    default: return level_base::adamw8bit;
  }
}

}  // namespace

AdamWFactors factors_of(const AdamWNumbers& n) {
  const double correction1 = 1.0 - std::pow(n.beta1, double(n.step)), correction2 = 1.0 - std::pow(n.beta2, double(n.step));
  return {float(1.0 / n.divisor), float(n.beta1), float(1.0 - n.beta1), float(n.beta2), float(1.0 - n.beta2),
          float(1.0 - n.learning_rate * n.weight_decay), float(n.learning_rate / correction1),
          float(std::sqrt(correction2)), float(n.epsilon)};
}

void adamw8bit(Launch launch, const AdamWNumbers& numbers, int64_t count, float* weights, const float* gradient,
               Moments8bit moments) {
  if (count == 0) return;
  const AdamWFactors factors = factors_of(numbers);
  if (launch.place == Place::cuda) return adamw8bit_cuda(launch, factors, count, weights, gradient, moments);
  cpu().step(factors, tables_of(signed_dynamic_map()), tables_of(unsigned_dynamic_map()), count, weights, gradient,
             moments);
}

}  // namespace braid::kernels
