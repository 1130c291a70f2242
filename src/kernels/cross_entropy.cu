// SPDX-License-Identifier: Apache-2.0
// One block per row reads it once for the running largest logit and sum of exponentials, and again for the gradient.
// Each row's numbers go to scratch and one block adds them in a fixed order, so that the sums are the same from run to
// run.
#include <cmath>

#include "kernels/cross_entropy_cuda.h"
#include "kernels/cuda_support.cuh"

namespace braid::kernels {

namespace {

constexpr int most_threads = 512;

__device__ inline float exponential(float x) { return expf(x); }
__device__ inline double exponential(double x) { return exp(x); }

struct RowSums {
  double loss;
  int counted, correct, nonfinite;
};

// The largest value so far with its first place, and sum of exp(x - largest). A NaN makes the sum NaN and is never the
// largest; -infinity adds nothing while there is something larger.
template <class A>
struct Softmax {
  A max, sum;
  int64_t index;
  int nonfinite;

  __device__ static Softmax empty() { return {A(-INFINITY), A(0), INT64_MAX, 0}; }

  __device__ void add(A x, int64_t at) {
    nonfinite += x - x != A(0);
    if (x > max) {
      sum = max == A(-INFINITY) ? sum + A(1) : sum * exponential(max - x) + A(1);
      max = x;
      index = at;
    } else if (x != A(-INFINITY)) {
      sum += exponential(x - max);
      if (x == max && at < index) index = at;
    } else if (max == x && at < index) {
      index = at;
    }
  }

  __device__ void merge(const Softmax& other) {
    const A larger = other.max > max ? other.max : max;
    sum = (max == larger ? sum : sum * exponential(max - larger)) +
          (other.max == larger ? other.sum : other.sum * exponential(other.max - larger));
    if (other.max > max || (other.max == max && other.index < index)) index = other.index;
    max = larger;
    nonfinite += other.nonfinite;
  }
};

template <class A>
__device__ Softmax<A> block_merge(Softmax<A> mine, Softmax<A>* shared) {
  for (int offset = warp_size / 2; offset > 0; offset /= 2) {
    mine.merge({__shfl_down_sync(whole_warp, mine.max, offset), __shfl_down_sync(whole_warp, mine.sum, offset),
                __shfl_down_sync(whole_warp, mine.index, offset),
                __shfl_down_sync(whole_warp, mine.nonfinite, offset)});
  }
  if (threadIdx.x % warp_size == 0) shared[threadIdx.x / warp_size] = mine;
  __syncthreads();
  Softmax<A> all = shared[0];
  for (int warp = 1; warp < int(blockDim.x) / warp_size; ++warp) all.merge(shared[warp]);
  return all;  // the same in every thread
}

// A row with NaN or +infinity has a NaN sum, as the plain formula has: its loss is NaN and it is not correct. So is the
// loss of a target outside the vocabulary, since only the CPU can throw.
template <class A>
__device__ RowSums judge(const Softmax<A>& row, A total, A at_target, int64_t target, bool in_range) {
  if (target == -100) return {0, 0, 0, row.nonfinite};
  const double loss = in_range ? log(double(total)) - (double(at_target) - double(row.max)) : double(NAN);
  return {loss, 1, total == total && row.index == target, row.nonfinite};
}

template <int W, class T>
__global__ void __launch_bounds__(most_threads)
    row_kernel(int64_t vocabulary, const T* logits, const int64_t* targets, double scale, RowSums* sums, T* out) {
  using A = typename Accumulate<T>::Type;
  __shared__ Softmax<A> shared[most_threads / warp_size];
  const int64_t row = blockIdx.x, target = targets[row], stride = int64_t(blockDim.x) * W;
  const bool in_range = target >= 0 && target < vocabulary;
  const T* x = logits + row * vocabulary;
  const A at_target = in_range ? A(widen(x[target])) : A(0);
  Softmax<A> mine = Softmax<A>::empty();
  for (int64_t i = int64_t(threadIdx.x) * W; i < vocabulary; i += stride) {
    A values[W];
    load<W>(x + i, values);
#pragma unroll
    for (int j = 0; j < W; ++j) mine.add(values[j], i + j);
  }
  const Softmax<A> all = block_merge(mine, shared);  // no thread writes a gradient before all have read the row
  const A total = all.sum + (all.max - all.max);     // NaN for an infinite largest logit
  if (threadIdx.x == 0) sums[row] = judge(all, total, at_target, target, in_range);
  if (!out) return;
  const A factor = A(scale) / total;
  for (int64_t i = int64_t(threadIdx.x) * W; i < vocabulary; i += stride) {
    A values[W];
    load<W>(x + i, values);
#pragma unroll
    for (int j = 0; j < W; ++j) {
      const A g = exponential(values[j] - all.max) * factor - (i + j == target ? A(scale) : A(0));
      values[j] = target == -100 ? A(0) : g;
    }
    store<W>(out + row * vocabulary + i, values);
  }
}

constexpr int add_threads = 1024;

__global__ void __launch_bounds__(add_threads) add_rows(int64_t rows, const RowSums* sums, LossSums* out) {
  __shared__ double shared[add_threads / warp_size * 4];
  double mine[4] = {};
  for (int64_t i = threadIdx.x; i < rows; i += add_threads) {
    mine[0] += sums[i].loss;
    mine[1] += sums[i].counted;
    mine[2] += sums[i].correct;
    mine[3] += sums[i].nonfinite;
  }
  block_sums<add_threads, 4>(mine, shared, [&](int i, double total) {
    if (i == 0) out->loss += total;
    else (i == 1 ? out->count : i == 2 ? out->correct : out->nonfinite) += int64_t(total);
  });
}

template <int W, class T>
void run(Launch launch, int64_t rows, int64_t vocabulary, const void* logits, const int64_t* targets, double scale,
         LossSums* sums, void* dlogits) {
  const cudaStream_t stream = stream_of(launch);
  const Scratch<RowSums> row_sums(rows, stream);
  const int threads = vocabulary <= 512 ? 32 : vocabulary <= 4096 ? 128 : most_threads;
  row_kernel<W, T><<<unsigned(rows), threads, 0, stream>>>(vocabulary, static_cast<const T*>(logits), targets, scale,
                                                           row_sums.get(), static_cast<T*>(dlogits));
  add_rows<<<1, add_threads, 0, stream>>>(rows, row_sums.get(), sums);
  check_cuda(cudaGetLastError(), "cross entropy");
}

template <class T>
void with_width(Launch launch, int64_t rows, int64_t vocabulary, const void* logits, const int64_t* targets,
                double scale, LossSums* sums, void* dlogits) {
  constexpr int wide = 16 / sizeof(T);
  const bool aligned = vocabulary % wide == 0 && is_aligned(logits, 16) && is_aligned(dlogits, 16);
  if (aligned) run<wide, T>(launch, rows, vocabulary, logits, targets, scale, sums, dlogits);
  else run<1, T>(launch, rows, vocabulary, logits, targets, scale, sums, dlogits);
}

}  // namespace

void cross_entropy_cuda(Launch launch, Element element, int64_t rows, int64_t vocabulary, const void* logits,
                        const int64_t* targets, double scale, LossSums* sums, void* dlogits) {
  switch (element) {
    case Element::float32:
      return with_width<float>(launch, rows, vocabulary, logits, targets, scale, sums, dlogits);
    case Element::bfloat16:
      return with_width<__nv_bfloat16>(launch, rows, vocabulary, logits, targets, scale, sums, dlogits);
    case Element::float64: return run<1, double>(launch, rows, vocabulary, logits, targets, scale, sums, dlogits);
  }
}

}  // namespace braid::kernels
