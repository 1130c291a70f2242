// SPDX-License-Identifier: Apache-2.0
// One block per row: largest logit, sum of exponentials, gradient. Each row's numbers go to scratch and one block adds
// them in a fixed order, so that the sums are the same from run to run.
#include <cmath>

#include "kernels/cross_entropy_cuda.h"
#include "kernels/cuda_support.cuh"

namespace braid::kernels {

namespace {

constexpr int threads = 256;

struct RowSums {
  double loss;
  int counted, correct;
  long long nonfinite;
};

// A larger value wins; of equals the earlier one.
template <class A>
struct Best {
  A value;
  int64_t index;
  __device__ void offer(A other, int64_t other_index) {
    if (other > value || (other == value && other_index < index)) {
      value = other;
      index = other_index;
    }
  }
};

template <class A>
__device__ Best<A> block_best(Best<A> mine, Best<A>* shared) {
  shared[threadIdx.x] = mine;
  for (int half = threads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) shared[threadIdx.x].offer(shared[threadIdx.x + half].value, shared[threadIdx.x + half].index);
  }
  __syncthreads();
  return shared[0];
}

__device__ inline float exponential(float x) { return expf(x); }
__device__ inline double exponential(double x) { return exp(x); }

template <class T>
__global__ void row_kernel(int64_t vocabulary, const T* logits, const int64_t* targets, double scale, RowSums* sums, T* out) {
  using A = typename Accumulate<T>::Type;
  __shared__ Best<A> best_of[threads];
  __shared__ double partial[32];
  __shared__ A total_shared;
  const int64_t row = blockIdx.x, target = targets[row];
  const T* x = logits + row * vocabulary;
  Best<A> mine{A(-INFINITY), vocabulary};
  double bad = 0;
  for (int64_t i = threadIdx.x; i < vocabulary; i += threads) {
    const A value = widen(x[i]);
    mine.offer(value, i);
    bad += value - value == A(0) ? 0 : 1;
  }
  const Best<A> best = block_best(mine, best_of);
  bad = block_sum(bad, partial);
  double sum = 0;
  for (int64_t i = threadIdx.x; i < vocabulary; i += threads) sum += double(exponential(widen(x[i]) - best.value));
  sum = block_sum(sum, partial);
  if (threadIdx.x == 0) {
    const bool counts = target != -100;
    total_shared = A(sum);
    RowSums& mine_sums = sums[row];
    mine_sums.loss = counts ? log(sum) - double(widen(x[counts ? target : 0]) - best.value) : 0.0;
    mine_sums.counted = counts;
    mine_sums.correct = counts && best.index == target;
    mine_sums.nonfinite = static_cast<long long>(bad);
  }
  __syncthreads();
  if (!out) return;
  T* g = out + row * vocabulary;
  const A factor = A(scale) / total_shared;
  for (int64_t i = threadIdx.x; i < vocabulary; i += threads) {
    const A p = exponential(widen(x[i]) - best.value) * factor - (i == target ? A(scale) : A(0));
    g[i] = narrow<T>(target == -100 ? A(0) : p);
  }
}

__global__ void add_rows(int64_t rows, const RowSums* sums, LossSums* out) {
  __shared__ double partial[32];
  double loss = 0, counted = 0, correct = 0, nonfinite = 0;
  for (int64_t i = threadIdx.x; i < rows; i += blockDim.x) {
    loss += sums[i].loss;
    counted += sums[i].counted;
    correct += sums[i].correct;
    nonfinite += double(sums[i].nonfinite);
  }
  loss = block_sum(loss, partial);
  counted = block_sum(counted, partial);
  correct = block_sum(correct, partial);
  nonfinite = block_sum(nonfinite, partial);
  if (threadIdx.x != 0) return;
  out->loss += loss;
  out->count += int64_t(counted);
  out->correct += int64_t(correct);
  out->nonfinite += int64_t(nonfinite);
}

template <class T>
void run(Launch launch, int64_t rows, int64_t vocabulary, const void* logits, const int64_t* targets, double scale,
         LossSums* sums, void* dlogits) {
  const cudaStream_t stream = stream_of(launch);
  const Scratch<RowSums> row_sums(rows, stream);
  row_kernel<T><<<unsigned(rows), threads, 0, stream>>>(vocabulary, static_cast<const T*>(logits), targets, scale,
                                                        row_sums.get(), static_cast<T*>(dlogits));
  add_rows<<<1, 1024, 0, stream>>>(rows, row_sums.get(), sums);
  check_cuda(cudaGetLastError(), "cross entropy");
}

}  // namespace

void cross_entropy_cuda(Launch launch, Element element, int64_t rows, int64_t vocabulary, const void* logits,
                        const int64_t* targets, double scale, LossSums* sums, void* dlogits) {
  switch (element) {
    case Element::float32: return run<float>(launch, rows, vocabulary, logits, targets, scale, sums, dlogits);
    case Element::bfloat16: return run<__nv_bfloat16>(launch, rows, vocabulary, logits, targets, scale, sums, dlogits);
    case Element::float64: return run<double>(launch, rows, vocabulary, logits, targets, scale, sums, dlogits);
  }
}

}  // namespace braid::kernels
