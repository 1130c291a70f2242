// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda_nf4.cuh"
#include "kernels/nf4_product_cuda.h"
#include "kernels/row_products_cuda.h"

namespace braid::kernels {

namespace {

constexpr int warps = 8, threads = warps * warp_size, most_tokens = 8;

// A copy in shared memory: lanes look up different numbers at once.
__device__ __forceinline__ void copy_numbers(float* numbers) {
  if (threadIdx.x < 16) numbers[threadIdx.x] = nf4_number[threadIdx.x];
  __syncthreads();
}

// A warp computes y[n, row] for up to 8 tokens.
template <class T>
__global__ void __launch_bounds__(threads) product_kernel(Nf4Matrix w, int tokens, const T* x, T* y) {
  __shared__ float numbers[16];
  copy_numbers(numbers);
  const int lane = threadIdx.x % warp_size;
  const int64_t row = int64_t(blockIdx.x) * warps + threadIdx.x / warp_size;
  if (row >= w.rows) return;
  float sums[most_tokens] = {};
  for (int64_t column = lane; column < w.columns; column += warp_size) {
    const int64_t at = row * w.columns + column;
    const float weight = numbers[nf4_code(w.packed, at)] * block_absmax(w.scales, at / nf4_block);
#pragma unroll
    for (int n = 0; n < most_tokens; ++n) {
      if (n < tokens) sums[n] += weight * widen(x[n * w.columns + column]);
    }
  }
#pragma unroll
  for (int n = 0; n < most_tokens; ++n) {
    float sum = sums[n];
    for (int offset = warp_size / 2; offset > 0; offset /= 2) sum += __shfl_down_sync(whole_warp, sum, offset);
    if (lane == 0 && n < tokens) y[n * w.rows + row] = narrow<T>(sum);
  }
}

// A thread block takes 32 columns, a warp every eighth row of them.
template <class T>
__global__ void __launch_bounds__(threads) transposed_kernel(Nf4Matrix w, int tokens, const T* dy, T* dx) {
  __shared__ float numbers[16], partial[warps][most_tokens][warp_size];
  copy_numbers(numbers);
  const int lane = threadIdx.x % warp_size, warp = threadIdx.x / warp_size;
  const int64_t column = int64_t(blockIdx.x) * warp_size + lane;
  float sums[most_tokens] = {};
  for (int64_t row = warp; row < w.rows && column < w.columns; row += warps) {
    const int64_t at = row * w.columns + column;
    const float weight = numbers[nf4_code(w.packed, at)] * block_absmax(w.scales, at / nf4_block);
#pragma unroll
    for (int n = 0; n < most_tokens; ++n) {
      if (n < tokens) sums[n] += weight * widen(dy[n * w.rows + row]);
    }
  }
#pragma unroll
  for (int n = 0; n < most_tokens; ++n) partial[warp][n][lane] = sums[n];
  __syncthreads();
  static_assert(warps == most_tokens, "a warp adds up a token");
  if (warp >= tokens || column >= w.columns) return;
  float total = 0;
  for (int part = 0; part < warps; ++part) total += partial[part][warp][lane];
  dx[warp * w.columns + column] = narrow<T>(total);
}

template <class T>
void product_as(Launch launch, const Nf4Matrix& w, int64_t tokens, const void* x_any, void* y_any) {
  const T* const x = static_cast<const T*>(x_any);
  T* const y = static_cast<T*>(y_any);
  const unsigned grid = unsigned((w.rows + warps - 1) / warps);
  for (int64_t first = 0; first < tokens; first += most_tokens) {
    const int count = int(tokens - first < most_tokens ? tokens - first : most_tokens);
    product_kernel<T><<<grid, threads, 0, stream_of(launch)>>>(w, count, x + first * w.columns, y + first * w.rows);
  }
  check_cuda(cudaGetLastError(), "NF4 product");
}

template <class T>
void transposed_as(Launch launch, const Nf4Matrix& w, int64_t tokens, const void* dy_any, void* dx_any) {
  const T* const dy = static_cast<const T*>(dy_any);
  T* const dx = static_cast<T*>(dx_any);
  const unsigned grid = unsigned((w.columns + warp_size - 1) / warp_size);
  for (int64_t first = 0; first < tokens; first += most_tokens) {
    const int count = int(tokens - first < most_tokens ? tokens - first : most_tokens);
    transposed_kernel<T><<<grid, threads, 0, stream_of(launch)>>>(w, count, dy + first * w.rows, dx + first * w.columns);
  }
  check_cuda(cudaGetLastError(), "transposed NF4 product");
}

}  // namespace

// Rows of whole blocks have products that read words.
void nf4_product_cuda(Launch launch, const Nf4Matrix& w, int64_t tokens, Element element, const void* x, void* y) {
  if (w.columns % nf4_block == 0 && is_aligned(w.packed, 8) && is_aligned(x, 16)) {
    return row_product_cuda(launch, {{w.rows, w.columns, nullptr, {w}, {}}, tokens, element, x}, nullptr, y);
  }
  if (element == Element::bfloat16) return product_as<__nv_bfloat16>(launch, w, tokens, x, y);
  product_as<float>(launch, w, tokens, x, y);
}

void nf4_product_transposed_cuda(Launch launch, const Nf4Matrix& w, int64_t tokens, Element element, const void* dy,
                                 void* dx) {
  if (element == Element::bfloat16) return transposed_as<__nv_bfloat16>(launch, w, tokens, dy, dx);
  transposed_as<float>(launch, w, tokens, dy, dx);
}

}  // namespace braid::kernels
