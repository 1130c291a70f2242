// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime.h>

#include "comm/device_code.h"

namespace braid {

namespace {
__global__ void nothing() {}
}  // namespace

bool device_has_code(int device) {
  int before = 0;
  if (cudaGetDevice(&before) != cudaSuccess || cudaSetDevice(device) != cudaSuccess) return false;
  cudaFuncAttributes attributes;
  const bool found = cudaFuncGetAttributes(&attributes, nothing) == cudaSuccess;
  cudaGetLastError();  // a missing image must not be reported by the next call
  cudaSetDevice(before);
  return found;
}

}  // namespace braid
