// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda_nf4.cuh"
#include "kernels/dynamic_map.h"
#include "kernels/nf4_cuda.h"

namespace braid::kernels {

namespace {

constexpr int threads = 256, warps = threads / warp_size;
constexpr float least_absmax = 1e-38f;

unsigned grid_for(int64_t work, int64_t each) {
  const int64_t wanted = (work + each - 1) / each, most = 1 << 20;
  return unsigned(wanted < most ? wanted : most);
}

// The largest over a warp; magnitudes as bits order like numbers, with NaN above infinity.
__device__ __forceinline__ unsigned warp_largest(unsigned bits) {
  for (int offset = warp_size / 2; offset > 0; offset /= 2) bits = max(bits, __shfl_xor_sync(whole_warp, bits, offset));
  return bits;
}

__device__ __forceinline__ unsigned magnitude(float x) { return __float_as_uint(x) & 0x7fffffffu; }

__device__ __forceinline__ unsigned code_of(float x) {
  unsigned code = 0;
#pragma unroll
  for (int i = 0; i < 15; ++i) code += !(x <= (nf4_number[i] + nf4_number[i + 1]) / 2.0f);
  return code;
}

// A warp takes a block, a thread two neighbours; see nf4_cpu.inl for why a short block is divided.
template <class T>
__global__ void __launch_bounds__(threads) quantise_kernel(int64_t count, const T* x, uint8_t* packed, float* absmax) {
  const int lane = threadIdx.x % warp_size;
  const int64_t blocks = (count + nf4_block - 1) / nf4_block, stride = int64_t(gridDim.x) * warps;
  for (int64_t block = int64_t(blockIdx.x) * warps + threadIdx.x / warp_size; block < blocks; block += stride) {
    const int64_t at = block * nf4_block + 2 * lane, end = min(count, (block + 1) * nf4_block);
    const float a = at < end ? widen(x[at]) : 0.0f, b = at + 1 < end ? widen(x[at + 1]) : 0.0f;
    const float most = __uint_as_float(warp_largest(max(magnitude(a), magnitude(b))));
    const float divisor = most < least_absmax ? least_absmax : most, scale = __frcp_rn(divisor);
    const bool whole = count - block * nf4_block >= nf4_block;
    const unsigned first = code_of(whole ? a * scale : __fdiv_rn(a, divisor));
    const unsigned second = code_of(whole ? b * scale : __fdiv_rn(b, divisor));
    if (at < end) packed[at / 2] = uint8_t(first << 4 | second);
    if (lane == 0) absmax[block] = whole ? most : divisor;
  }
}

template <class T>
void quantise_as(Launch launch, int64_t count, const void* x, uint8_t* packed, float* absmax) {
  quantise_kernel<T><<<grid_for(nf4_blocks(count), warps), threads, 0, stream_of(launch)>>>(
      count, static_cast<const T*>(x), packed, absmax);
  check_cuda(cudaGetLastError(), "NF4 quantisation");
}

// A thread block takes a block of 256 absmax; the code is the number of borders below.
__global__ void __launch_bounds__(threads) nest_kernel(const float* borders, int64_t blocks, const float* absmax,
                                                       float offset, uint8_t* codes, float* nested) {
  static_assert(threads == nf4_nested_block, "a thread for each");
  __shared__ float border[dynamic_map_size];
  __shared__ unsigned largest[warps];
  const int64_t at = int64_t(blockIdx.x) * nf4_nested_block + threadIdx.x;
  const float x = at < blocks ? absmax[at] - offset : 0.0f;
  border[threadIdx.x] = borders[threadIdx.x];
  const unsigned mine = warp_largest(magnitude(x));
  if (threadIdx.x % warp_size == 0) largest[threadIdx.x / warp_size] = mine;
  __syncthreads();
  unsigned bits = 0;
  for (int w = 0; w < warps; ++w) bits = max(bits, largest[w]);
  const float most = __uint_as_float(bits), scaled = x * __frcp_rn(most < least_absmax ? least_absmax : most);
  int code = 0;
  for (int step = 128; step > 0; step /= 2) code += scaled > border[code + step - 1] ? step : 0;
  if (at < blocks) codes[at] = uint8_t(code);
  if (threadIdx.x == 0) nested[blockIdx.x] = most;
}

template <class T>
__device__ __forceinline__ T converted(float x) { return narrow<T>(x); }
template <>
__device__ __forceinline__ double converted<double>(float x) { return x; }

// W neighbours of a row a thread; with W > 1 they share a block and begin a word of `packed`.
template <class T, int W>
__global__ void __launch_bounds__(threads) dequantise_kernel(Nf4Matrix w, Rectangle box, T* out) {
  const int64_t count = box.rows * box.columns, stride = int64_t(gridDim.x) * threads * W;
  for (int64_t i = (int64_t(blockIdx.x) * threads + threadIdx.x) * W; i < count; i += stride) {
    const int64_t row = box.first_row + i / box.columns, column = box.first_column + i % box.columns;
    const int64_t at = row * w.columns + column;
    const float absmax = block_absmax(w.scales, at / nf4_block);
#pragma unroll
    for (int k = 0; k < W; ++k) out[i + k] = converted<T>(nf4_number[nf4_code(w.packed, at + k)] * absmax);
  }
}

template <class T>
void dequantise_as(Launch launch, const Nf4Matrix& w, Rectangle box, void* out_any) {
  T* const out = static_cast<T*>(out_any);
  const int64_t count = box.rows * box.columns;
  const bool wide = w.columns % 8 == 0 && box.columns % 8 == 0 && box.first_column % 8 == 0;
  if (wide) {
    dequantise_kernel<T, 8><<<grid_for(count, threads * 8), threads, 0, stream_of(launch)>>>(w, box, out);
  } else {
    dequantise_kernel<T, 1><<<grid_for(count, threads), threads, 0, stream_of(launch)>>>(w, box, out);
  }
  check_cuda(cudaGetLastError(), "NF4 dequantisation");
}

}  // namespace

void nf4_quantise_cuda(Launch launch, int64_t count, Element element, const void* x, uint8_t* packed, float* absmax) {
  if (element == Element::bfloat16) return quantise_as<__nv_bfloat16>(launch, count, x, packed, absmax);
  quantise_as<float>(launch, count, x, packed, absmax);
}

void nf4_nest_cuda(Launch launch, int64_t blocks, const float* absmax, float offset, uint8_t* codes, float* nested) {
  const cudaStream_t stream = stream_of(launch);
  const Scratch<float> borders(dynamic_map_size, stream);
  const float* const host = signed_dynamic_map().border.data();
  check_cuda(cudaMemcpyAsync(borders.get(), host, sizeof(float) * dynamic_map_size, cudaMemcpyHostToDevice, stream),
             "borders of the dynamic map");
  const unsigned grid = unsigned((blocks + nf4_nested_block - 1) / nf4_nested_block);
  nest_kernel<<<grid, threads, 0, stream>>>(borders.get(), blocks, absmax, offset, codes, nested);
  check_cuda(cudaGetLastError(), "NF4 double quantisation");
}

void nf4_dequantise_cuda(Launch launch, const Nf4Matrix& matrix, Rectangle box, Element element, void* out) {
  switch (element) {
    case Element::float32: return dequantise_as<float>(launch, matrix, box, out);
    case Element::bfloat16: return dequantise_as<__nv_bfloat16>(launch, matrix, box, out);
    case Element::float64: return dequantise_as<double>(launch, matrix, box, out);
  }
}

}  // namespace braid::kernels
