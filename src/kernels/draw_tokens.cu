// SPDX-License-Identifier: Apache-2.0
// A block for each row. Sums are of whole numbers, so that atomic additions give the same in any order.
#include "kernels/cuda_support.cuh"
#include "kernels/draw_tokens_cuda.h"

namespace braid::kernels {

namespace {

using Count = unsigned long long;

constexpr int threads = 512;
constexpr int bytes = 256;  // values of a byte

__device__ __forceinline__ uint32_t key_of(float logit) {
  const uint32_t bits = __float_as_uint(logit + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

struct Shared {
  Count sums[threads];
  Count before, total;
  uint32_t key;
};

struct Row {
  int64_t vocabulary;
  const float* logits;
  uint64_t* chances;
};

template <class Each>
__device__ void for_each(const Row& row, const Each& each) {
  for (int64_t i = threadIdx.x; i < row.vocabulary; i += threads) each(i);
  __syncthreads();
}

// A thread's own neighbouring tokens.
struct Stretch {
  int64_t first, end;
};
__device__ Stretch own_stretch(const Row& row) {
  const int64_t each = (row.vocabulary + threads - 1) / threads;
  const int64_t first = min(int64_t(threadIdx.x) * each, row.vocabulary);
  return {first, min(first + each, row.vocabulary)};
}

// What the threads before this one have in `value`; the sum of all is left in shared.total.
__device__ Count sum_before(Count value, Shared& shared) {
  shared.sums[threadIdx.x] = value;
  __syncthreads();
  if (threadIdx.x == 0) {
    Count sum = 0;
    for (int t = 0; t < threads; ++t) {
      const Count own = shared.sums[t];
      shared.sums[t] = sum;
      sum += own;
    }
    shared.total = sum;
  }
  __syncthreads();
  const Count before = shared.sums[threadIdx.x];
  __syncthreads();
  return before;
}

__device__ Count total_of(const Row& row, Shared& shared) {
  Count own = 0;
  for_each(row, [&](int64_t i) { own += row.chances[i]; });
  sum_before(own, shared);
  return shared.total;
}

// Leaves the key of the last token that is needed to reach `limit` in shared.key, and what is more likely in
// shared.before.
template <class Amount>
__device__ void reach(const Row& row, Count limit, Shared& shared, const Amount& amount) {
  if (threadIdx.x == 0) shared.key = 0, shared.before = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    const uint32_t known = shift == 24 ? 0 : ~uint32_t{0} << (shift + 8);
    if (threadIdx.x < bytes) shared.sums[threadIdx.x] = 0;
    __syncthreads();
    for_each(row, [&](int64_t i) {
      const uint32_t key = key_of(row.logits[i]);
      const Count more = amount(i);
      if (((key ^ shared.key) & known) == 0 && more > 0) atomicAdd(&shared.sums[key >> shift & 255], more);
    });
    if (threadIdx.x == 0) {
      uint32_t byte = bytes - 1;
      for (; byte > 0 && shared.before + shared.sums[byte] < limit; --byte) shared.before += shared.sums[byte];
      shared.key |= byte << shift;
    }
    __syncthreads();
  }
}

__device__ void keep_top_k(const Row& row, double k, Shared& shared) {
  if (k <= 0 || k >= double(row.vocabulary)) return;
  reach(row, Count(k), shared, [](int64_t) { return Count(1); });
  for_each(row, [&](int64_t i) {
    if (key_of(row.logits[i]) < shared.key) row.chances[i] = 0;
  });
}

// Of tokens that are equally likely as the last those with the lowest ids.
__device__ void keep_first_equals(const Row& row, Count limit, Shared& shared) {
  const Stretch own = own_stretch(row);
  Count equal = 0;
  for (int64_t i = own.first; i < own.end; ++i) equal += key_of(row.logits[i]) == shared.key ? row.chances[i] : 0;
  Count sum = sum_before(equal, shared) + shared.before;
  for (int64_t i = own.first; i < own.end; ++i) {
    if (key_of(row.logits[i]) != shared.key) continue;
    const Count chance = row.chances[i];
    if (sum >= limit) row.chances[i] = 0;
    sum += chance;
  }
  __syncthreads();
}

__device__ void keep_top_p(const Row& row, double p, Shared& shared) {
  if (p >= 1) return;
  const Count share = Count(ceil(p * double(total_of(row, shared)))), limit = share > 1 ? share : 1;
  reach(row, limit, shared, [&](int64_t i) { return Count(row.chances[i]); });
  for_each(row, [&](int64_t i) {
    if (key_of(row.logits[i]) < shared.key) row.chances[i] = 0;
  });
  keep_first_equals(row, limit, shared);
}

__device__ void draw(const Row& row, double uniform, int64_t* id, Shared& shared) {
  const Stretch own = own_stretch(row);
  Count sum = 0;
  for (int64_t i = own.first; i < own.end; ++i) sum += row.chances[i];
  const Count before = sum_before(sum, shared), total = shared.total;
  const Count wanted = min(Count(uniform * double(total)), total - 1);
  if (wanted < before || wanted - before >= sum) return;
  Count left = wanted - before;
  int64_t i = own.first;
  for (; row.chances[i] <= left; ++i) left -= row.chances[i];
  *id = i;
}

__global__ void __launch_bounds__(threads)
    draw_kernel(int64_t vocabulary, const float* logits, const TokenDraw* draws, int64_t* ids, uint64_t* chances) {
  __shared__ Shared shared;
  const TokenDraw numbers = draws[blockIdx.x];
  const int64_t likeliest = ids[blockIdx.x];
  if (numbers.temperature <= 0 || likeliest < 0) return;
  const Row row{vocabulary, logits + blockIdx.x * vocabulary, chances + blockIdx.x * vocabulary};
  const double top = row.logits[likeliest];
  for_each(row, [&](int64_t i) {
    const double below = (double(row.logits[i]) - top) / numbers.temperature;
    row.chances[i] = below < -30 ? 0 : uint64_t(exp(below) * double(chance_of_likeliest) + 0.5);
  });
  keep_top_k(row, numbers.top_k, shared);
  keep_top_p(row, numbers.top_p, shared);
  const auto least = uint64_t(ceil(numbers.min_p * double(chance_of_likeliest)));
  for_each(row, [&](int64_t i) {
    if (row.chances[i] < least) row.chances[i] = 0;
  });
  draw(row, numbers.uniform, ids + blockIdx.x, shared);
}

}  // namespace

void draw_tokens_cuda(Launch launch, int64_t rows, int64_t vocabulary, const float* logits, const TokenDraw* draws,
                      int64_t* ids, uint64_t* chances) {
  if (rows == 0) return;
  draw_kernel<<<unsigned(rows), threads, 0, stream_of(launch)>>>(vocabulary, logits, draws, ids, chances);
  check_cuda(cudaGetLastError(), "draw_tokens");
}

}  // namespace braid::kernels
