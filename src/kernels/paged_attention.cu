// SPDX-License-Identifier: Apache-2.0
// A block for each row, query head and part of its keys, as in Flash-Decoding (pytorch.org/blog/flash-decoding): parts
// have one length whatever else is in the step, so that a row's sums have one order. Parts are joined by their maxima.
#include "kernels/cuda_launch.cuh"
#include "kernels/paged_attention_cuda.h"

namespace braid::kernels {

namespace {

constexpr int threads = 128, warps = threads / warp_size;
constexpr int64_t part_keys = 256;

int64_t parts_of(const PagedShape& s) { return s.longest <= part_keys ? 1 : (s.longest + part_keys - 1) / part_keys; }

__device__ __forceinline__ float exponential(float x) { return expf(x); }
__device__ __forceinline__ double exponential(double x) { return exp(x); }

template <class A>
struct Larger {
  __device__ A operator()(A a, A b) const { return a > b ? a : b; }
};
template <class A>
struct Sum {
  __device__ A operator()(A a, A b) const { return a + b; }
};

// Of the block's values, in every thread and in a fixed order. `shared` holds a value per warp.
template <class Join, class A>
__device__ A joined(A value, A* shared) {
  for (int offset = warp_size / 2; offset > 0; offset /= 2) {
    value = Join()(value, __shfl_xor_sync(whole_warp, value, offset));
  }
  if (threadIdx.x % warp_size == 0) shared[threadIdx.x / warp_size] = value;
  __syncthreads();
  A all = shared[0];
  for (int warp = 1; warp < warps; ++warp) all = Join()(all, shared[warp]);
  __syncthreads();
  return all;
}

// One row's way through the pool, for one key head.
template <class T>
struct Paged {
  const T *keys, *values;
  const int64_t* table;
  int64_t key_value_heads, kv_head, width;
  uint32_t block_tokens;  // of 32 bits as tokens are: a division of 64 costs more than the rest of a key

  __device__ int64_t block(uint32_t key) const {
    return (table[key / block_tokens] * key_value_heads + kv_head) * width * block_tokens;
  }
  __device__ const T* key(uint32_t j) const { return keys + block(j) + j % block_tokens; }  // of stride block_tokens
  __device__ const T* value(uint32_t j) const { return values + block(j) + (j % block_tokens) * width; }
};

// What a part of the keys comes to: its largest score, the sum of exponentials below it, and the values so weighted.
template <class A>
struct Part {
  A top, sum;
  A* weighted;  // [d] in shared memory
};

// Dynamic shared memory: the query [d] and a sum of values for each warp [warps, d].
template <class T, class A = typename Accumulate<T>::Type>
__device__ Part<A> attend_part(const Paged<T>& paged, const T* query, int64_t first, int64_t end, A scale, A* memory) {
  __shared__ A weights[threads], shared[warps];
  const int64_t width = paged.width;
  A *const q = memory, *const sums = memory + width;
  for (int64_t c = threadIdx.x; c < width; c += threads) q[c] = A(widen(query[c])) * scale;
  for (int64_t c = threadIdx.x; c < warps * width; c += threads) sums[c] = 0;
  __syncthreads();
  A* const own = sums + threadIdx.x / warp_size * width;
  const A nothing = -A(INFINITY);
  Part<A> part{nothing, 0, sums};
  for (int64_t begin = first; begin < end; begin += threads) {
    const int64_t j = begin + threadIdx.x;
    A score = nothing;
    if (j < end) {
      const T* const key = paged.key(uint32_t(j));
      score = 0;
#pragma unroll 16  // so many loads are under way at once
      for (int64_t c = 0; c < width; ++c) score += q[c] * A(widen(key[c * paged.block_tokens]));
    }
    const A top = Larger<A>()(joined<Larger<A>>(score, shared), part.top);
    const A weight = j < end ? exponential(score - top) : A(0);
    const A faded = part.sum == A(0) ? A(0) : exponential(part.top - top);
    weights[threadIdx.x] = weight;
    part.sum = part.sum * faded + joined<Sum<A>>(weight, shared);
    part.top = top;
    for (int64_t c = threadIdx.x % warp_size; c < width; c += warp_size) own[c] *= faded;
    const int64_t count = min(end - begin, int64_t(threads));
#pragma unroll 8
    for (int64_t n = threadIdx.x / warp_size; n < count; n += warps) {
      const T* const value = paged.value(uint32_t(begin + n));
      for (int64_t c = threadIdx.x % warp_size; c < width; c += warp_size) own[c] += weights[n] * A(widen(value[c]));
    }
    __syncthreads();
  }
  for (int64_t c = threadIdx.x; c < width; c += threads) {
    for (int warp = 1; warp < warps; ++warp) sums[c] += sums[warp * width + c];
  }
  return part;
}

// With one part out [R, H, d] is written, else parts [R, H, parts, d + 2]: top, sum, weighted values.
template <class T, class A = typename Accumulate<T>::Type>
__global__ void __launch_bounds__(threads)
    attention_kernel(PagedShape s, PagedInputs in, const T* keys, const T* values, T* out, A* parts, A scale) {
  double* const memory = dynamic_shared();
  start_next();
  wait_for_earlier();
  const int64_t r = blockIdx.x, h = blockIdx.y, part_number = blockIdx.z;
  const PagedRow row = in.rows[r];
  const Paged<T> paged{keys, values, in.tables + row.table * s.table_width,
                       s.key_value_heads, h / (s.heads / s.key_value_heads), s.width, uint32_t(s.block_tokens)};
  const T* const query = static_cast<const T*>(in.packed) + (r * (s.heads + 2 * s.key_value_heads) + h) * s.width;
  const bool alone = gridDim.z == 1;
  const int64_t first = part_number * part_keys;
  if (first > row.position) return;  // of a shorter text than the step's longest; nobody asks for it
  const int64_t end = alone ? row.position + 1 : min(first + part_keys, row.position + 1);
  const Part<A> part = attend_part<T>(paged, query, first, end, scale, reinterpret_cast<A*>(memory));
  A* const kept = alone ? nullptr : parts + ((r * s.heads + h) * gridDim.z + part_number) * (s.width + 2);
  for (int64_t c = threadIdx.x; c < s.width; c += threads) {
    if (alone) out[(r * s.heads + h) * s.width + c] = narrow<T>(part.weighted[c] / part.sum);
    else kept[2 + c] = part.weighted[c];
  }
  if (!alone && threadIdx.x == 0) kept[0] = part.top, kept[1] = part.sum;
}

template <class T, class A = typename Accumulate<T>::Type>
__global__ void __launch_bounds__(threads)
    join_kernel(PagedShape s, const PagedRow* rows, int64_t most_parts, const A* parts, T* out) {
  start_next();
  wait_for_earlier();
  const int64_t r = blockIdx.x, h = blockIdx.y, count = rows[r].position / part_keys + 1;
  const A* const all = parts + (r * s.heads + h) * most_parts * (s.width + 2);
  A top = all[0], sum = 0;
  for (int64_t p = 1; p < count; ++p) top = Larger<A>()(top, all[p * (s.width + 2)]);
  for (int64_t p = 0; p < count; ++p) sum += all[p * (s.width + 2) + 1] * exponential(all[p * (s.width + 2)] - top);
  for (int64_t c = threadIdx.x; c < s.width; c += threads) {
    A weighted = 0;
    for (int64_t p = 0; p < count; ++p) {
      const A* const part = all + p * (s.width + 2);
      weighted += part[2 + c] * exponential(part[0] - top);
    }
    out[(r * s.heads + h) * s.width + c] = narrow<T>(weighted / sum);
  }
}

template <class T>
__global__ void __launch_bounds__(threads) store_kernel(PagedShape s, PagedInputs in, T* keys, T* values) {
  start_next();
  wait_for_earlier();
  const int64_t r = blockIdx.x, h = blockIdx.y;
  const PagedRow row = in.rows[r];
  const int64_t block = in.tables[row.table * s.table_width + row.position / s.block_tokens];
  const int64_t at = (block * s.key_value_heads + h) * s.width * s.block_tokens, token = row.position % s.block_tokens;
  const int64_t slots = s.heads + 2 * s.key_value_heads;
  const T* const key = static_cast<const T*>(in.packed) + (r * slots + s.heads + h) * s.width;
  const T* const value = key + s.key_value_heads * s.width;
  for (int64_t c = threadIdx.x; c < s.width; c += threads) {
    keys[at + c * s.block_tokens + token] = key[c];
    values[at + token * s.width + c] = value[c];
  }
}

template <class T>
void store_of(Launch launch, const PagedShape& s, const PagedInputs& in, void* keys, void* values) {
  const dim3 grid(unsigned(s.rows), unsigned(s.key_value_heads));
  launch_following<store_kernel<T>>(grid, threads, 0, stream_of(launch), "storing keys and values", s, in, static_cast<T*>(keys),
                                    static_cast<T*>(values));
}

template <class T, class A = typename Accumulate<T>::Type>
void attention_of(Launch launch, const PagedShape& s, const PagedInputs& in, const void* keys, const void* values,
                  void* out, void* scratch) {
  const int64_t parts = parts_of(s);
  const dim3 grid(unsigned(s.rows), unsigned(s.heads), unsigned(parts));
  const size_t memory = size_t((warps + 1) * s.width) * sizeof(A);
  const A scale = A(1) / A(sqrt(double(s.width)));
  launch_following<attention_kernel<T, A>>(grid, threads, memory, stream_of(launch), "attention", s, in,
                                           static_cast<const T*>(keys), static_cast<const T*>(values), static_cast<T*>(out),
                                           static_cast<A*>(scratch), scale);
  if (parts == 1) return;
  launch_following<join_kernel<T, A>>(dim3(unsigned(s.rows), unsigned(s.heads)), threads, 0, stream_of(launch), "attention", s,
                                      in.rows, parts, static_cast<const A*>(scratch), static_cast<T*>(out));
}

}  // namespace

void store_paged_cuda(Launch launch, const PagedShape& s, Element element, const PagedInputs& in, void* keys,
                      void* values) {
  switch (element) {
    case Element::float32: return store_of<float>(launch, s, in, keys, values);
    case Element::bfloat16: return store_of<__nv_bfloat16>(launch, s, in, keys, values);
    case Element::float64: return store_of<double>(launch, s, in, keys, values);
  }
}

void paged_attention_cuda(Launch launch, const PagedShape& s, Element element, const PagedInputs& in, const void* keys,
                          const void* values, void* out, void* scratch) {
  switch (element) {
    case Element::float32: return attention_of<float>(launch, s, in, keys, values, out, scratch);
    case Element::bfloat16: return attention_of<__nv_bfloat16>(launch, s, in, keys, values, out, scratch);
    case Element::float64: return attention_of<double>(launch, s, in, keys, values, out, scratch);
  }
}

int64_t paged_scratch_bytes_cuda(const PagedShape& s, Element element) {
  const int64_t parts = parts_of(s), number = element == Element::float64 ? sizeof(double) : sizeof(float);
  return parts == 1 ? 0 : s.rows * s.heads * parts * (s.width + 2) * number;
}

}  // namespace braid::kernels
