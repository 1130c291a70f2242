// SPDX-License-Identifier: Apache-2.0
// Cross-entropy that returns sums and counts, never a mean: the divisor is the global count, agreed before backward.
#pragma once

#include <ATen/core/Tensor.h>

namespace braid {

// Sums over every micro-batch and, once reduced, over all ranks; one double[4] tensor on the device:
// loss in nats, targets that carry loss, correct predictions, logits that are not finite.
struct LossTotals {
  at::Tensor values;
  static constexpr int64_t loss = 0, count = 1, correct = 2, nonfinite = 3;
};
LossTotals make_loss_totals(const at::Device& device);

// logits [N, V] in compute type, targets [N] int64 (-100: no loss). Adds to `totals` and returns a scalar whose backward
// (to be started with gradient 1) sends scale * d(loss sum)/d(logits). With gradients on, the logits' memory is reused.
at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& targets, double scale, LossTotals& totals);

}  // namespace braid
