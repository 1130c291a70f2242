// SPDX-License-Identifier: Apache-2.0
// The OpenMP threads that compute, this project's kernels' and LibTorch's alike: they are one pool.
#pragma once

#include <functional>

namespace braid::kernels {

// Calls `work` once on each thread that computes beside the calling one.
void on_each_worker(const std::function<void()>& work);

}  // namespace braid::kernels
