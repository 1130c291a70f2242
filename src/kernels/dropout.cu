// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/cuda_support.cuh"
#include "kernels/dropout_cuda.h"

namespace braid::kernels {

namespace {

constexpr int threads = 256;
constexpr int64_t most_blocks = 65535;

// base/philox.h's philox4x32_10.
__device__ uint4 philox(uint4 c, uint2 k) {
  for (int round = 0; round < 10; ++round) {
    const uint32_t high_a = __umulhi(0xD2511F53u, c.x), low_a = 0xD2511F53u * c.x;
    const uint32_t high_b = __umulhi(0xCD9E8D57u, c.z), low_b = 0xCD9E8D57u * c.z;
    c = make_uint4(high_b ^ c.y ^ k.x, low_b, high_a ^ c.w ^ k.y, low_a);
    k.x += 0x9E3779B9u;
    k.y += 0xBB67AE85u;
  }
  return c;
}

template <class T>
__global__ void __launch_bounds__(threads) dropout_kernel(int64_t count, int64_t groups, DropoutKey key, uint64_t limit,
                                                          uint64_t first, const T* x, T* y) {
  using Wide = decltype(widen(T{}));
  const Wide scale = Wide(1 / (1 - key.rate));
  const int64_t stride = int64_t(gridDim.x) * threads;
  for (int64_t g = int64_t(blockIdx.x) * threads + threadIdx.x; g < groups; g += stride) {
    const uint64_t group = first / 4 + uint64_t(g);
    const uint4 drawn =
        philox(make_uint4(uint32_t(group), uint32_t(group >> 32), key.step, 0), make_uint2(key.key[0], key.key[1]));
    const uint32_t words[4] = {drawn.x, drawn.y, drawn.z, drawn.w};
    for (int lane = 0; lane < 4; ++lane) {
      const uint64_t element = group * 4 + lane;
      if (element < first || element - first >= uint64_t(count)) continue;
      const uint64_t i = element - first;
      y[i] = narrow<T>(words[lane] >= limit ? widen(x[i]) * scale : Wide(0));
    }
  }
}

template <class T>
void dropout_as(Launch launch, int64_t count, const DropoutKey& key, uint64_t first, const void* x, void* y) {
  const int64_t groups = int64_t((first + uint64_t(count) + 3) / 4 - first / 4);
  const int64_t wanted = (groups + threads - 1) / threads;
  dropout_kernel<T><<<unsigned(wanted < most_blocks ? wanted : most_blocks), threads, 0, stream_of(launch)>>>(
      count, groups, key, uint64_t(std::ceil(key.rate * 4294967296.0)), first, static_cast<const T*>(x),
      static_cast<T*>(y));
  check_cuda(cudaGetLastError(), "dropout");
}

}  // namespace

void dropout_cuda(Launch launch, int64_t count, Element element, DropoutKey key, uint64_t first, const void* x, void* y) {
  switch (element) {
    case Element::float32: return dropout_as<float>(launch, count, key, first, x, y);
    case Element::bfloat16: return dropout_as<__nv_bfloat16>(launch, count, key, first, x, y);
    case Element::float64: return dropout_as<double>(launch, count, key, first, x, y);
  }
}

}  // namespace braid::kernels
