// SPDX-License-Identifier: Apache-2.0
#include "train/determinism.h"

#include <ATen/Context.h>

#include <cstdlib>

namespace braid {

void ask_for_determinism() {
  constexpr int keep = 0;
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", keep);  // cuBLAS: one workspace a stream, so no choice by race
  setenv("NCCL_ALGO", "Ring", keep);                   // the order of sums must not depend on tuning
  setenv("NCCL_PROTO", "Simple", keep);
  at::Context& context = at::globalContext();
  context.setDeterministicAlgorithms(true, /*warn_only=*/false);
  context.setDeterministicCuDNN(true);
  context.setBenchmarkCuDNN(false);
}

}  // namespace braid
