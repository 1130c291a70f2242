// SPDX-License-Identifier: Apache-2.0
// train.deterministic: the same bits from run to run, on the same ranks, threads and instruction set. CPU runs are so
// anyway (every sum has a fixed order, whatever threads come first); on GPUs libraries must be told.
#pragma once

namespace braid {

// Before MPI, NCCL and CUDA start: they read these settings once. What the user has set in the environment stays.
void ask_for_determinism();

}  // namespace braid
