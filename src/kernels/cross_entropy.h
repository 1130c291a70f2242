// SPDX-License-Identifier: Apache-2.0
// Softmax cross-entropy over rows of logits in one pass: loss sum in double, count of targets that carry loss, whether
// any logit was not finite, and the gradient (softmax - onehot) * scale, which may overwrite the logits.
#pragma once

#include <cstdint>

#include "kernels/launch.h"

namespace braid::kernels {

struct LossSums {
  double loss = 0;         // sum over counted rows of -log softmax(logits)[target], nats
  int64_t count = 0;       // rows with a target other than -100
  int64_t correct = 0;     // rows whose largest logit is the target (first of equals)
  int64_t nonfinite = 0;   // logits that are NaN or infinite
};

// logits [N, V] (row stride V), targets [N] int64 (-100: no loss, gradient 0). `sums` lies in the same place as the
// logits (device memory on CUDA) and is ADDED to. dlogits may be null, or equal to logits. Sums in fp32 for float32 and
// bfloat16 rows (double for float64).
void cross_entropy(Launch, Element, int64_t rows, int64_t vocabulary, const void* logits, const int64_t* targets,
                   double scale, LossSums* sums, void* dlogits);

}  // namespace braid::kernels
