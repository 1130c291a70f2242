// SPDX-License-Identifier: Apache-2.0
#include "kernels/adamw8bit_cuda.h"
#include "kernels/cuda_support.cuh"

namespace braid::kernels {

namespace {

constexpr int threads = moment_block, warps = threads / warp_size;
constexpr float least_absmax = 1e-38f;

// Numbers and borders of both maps, first moment's before second's.
struct Maps {
  float value[2][dynamic_map_size], border[2][dynamic_map_size];
};

Maps host_maps() {
  Maps maps;
  int which = 0;
  for (const DynamicMap* map : {&signed_dynamic_map(), &unsigned_dynamic_map()}) {
    memcpy(maps.value[which], map->value.data(), sizeof maps.value[0]);
    memcpy(maps.border[which++], map->border.data(), sizeof maps.border[0]);
  }
  return maps;
}

// The largest magnitude over the thread block; NaN above all.
__device__ __forceinline__ float block_largest(float x, unsigned* shared) {
  unsigned bits = __float_as_uint(x) & 0x7fffffffu;
  for (int offset = warp_size / 2; offset > 0; offset /= 2) bits = max(bits, __shfl_xor_sync(whole_warp, bits, offset));
  if (threadIdx.x % warp_size == 0) shared[threadIdx.x / warp_size] = bits;
  __syncthreads();
  for (int w = 0; w < warps; ++w) bits = max(bits, shared[w]);
  __syncthreads();
  return __uint_as_float(bits);
}

// How many borders lie below x.
__device__ __forceinline__ int code_in(const float* border, float x) {
  int code = 0;
  for (int step = dynamic_map_size / 2; step > 0; step /= 2) code += x > border[code + step - 1] ? step : 0;
  return code;
}

__device__ __forceinline__ float inverse(float absmax) { return absmax < least_absmax ? 0.0f : __frcp_rn(absmax); }

// A thread block takes blocks of moments, a thread one moment of each.
__global__ void __launch_bounds__(threads) step_kernel(AdamWFactors f, const Maps* maps, int64_t count, float* weights,
                                                       const float* gradient, Moments8bit moments) {
  __shared__ Maps map;
  __shared__ unsigned shared[warps];
  for (int i = threadIdx.x; i < int(sizeof(Maps) / sizeof(float)); i += threads) {
    (&map.value[0][0])[i] = (&maps->value[0][0])[i];
  }
  __syncthreads();
  const int64_t blocks = (count + moment_block - 1) / moment_block;
  for (int64_t block = blockIdx.x; block < blocks; block += gridDim.x) {
    const int64_t i = block * moment_block + threadIdx.x;
    float m = 0, v = 0;
    if (i < count) {
      const float g = gradient[i] * f.scale;
      m = map.value[0][moments.first[i]] * moments.first_absmax[block] * f.beta1 + g * f.rest1;
      v = map.value[1][moments.second[i]] * moments.second_absmax[block] * f.beta2 + g * g * f.rest2;
      weights[i] = weights[i] * f.kept - f.rate * m / (sqrtf(v) / f.root + f.epsilon);
    }
    const float most = block_largest(m, shared), second_most = block_largest(v, shared);
    if (i < count) {
      const float scaled = m * inverse(most);
      const int code = code_in(map.border[0], scaled);
      moments.first[i] = uint8_t(code - (scaled < 0 && map.value[0][code] >= 0));
      moments.second[i] = uint8_t(code_in(map.border[1], v * inverse(second_most)));
    }
    if (threadIdx.x == 0) {
      moments.first_absmax[block] = most;
      moments.second_absmax[block] = second_most;
    }
  }
}

}  // namespace

void adamw8bit_cuda(Launch launch, const AdamWFactors& factors, int64_t count, float* weights, const float* gradient,
                    Moments8bit moments) {
  static const Maps host = host_maps();
  const cudaStream_t stream = stream_of(launch);
  const Scratch<Maps> maps(1, stream);
  check_cuda(cudaMemcpyAsync(maps.get(), &host, sizeof host, cudaMemcpyHostToDevice, stream), "dynamic maps");
  const int64_t blocks = (count + moment_block - 1) / moment_block;
  const unsigned grid = unsigned(blocks < 4096 ? blocks : 4096);
  step_kernel<<<grid, threads, 0, stream>>>(factors, maps.get(), count, weights, gradient, moments);
  check_cuda(cudaGetLastError(), "8-bit AdamW");
}

}  // namespace braid::kernels
