// SPDX-License-Identifier: Apache-2.0
// P neighbouring lanes of a warp share one matrix, P being the streams rounded up to a power of two; lane i keeps row i
// in registers. Row sums stay in the lane, column sums go round by shuffles. The backward recomputes the iterates: the
// sums of every normalisation go to scratch and are multiplied back in, last to first.
#include "kernels/cuda_support.cuh"
#include "kernels/sinkhorn_cuda.h"

namespace braid::kernels {

namespace {

constexpr int threads = 64;

__device__ inline float exponential(float x) { return expf(x); }
__device__ inline double exponential(double x) { return exp(x); }

// Division by max(sum, floor), written so that a NaN sum stays NaN.
template <class A>
struct Divisor {
  A value;
  bool clamped;
  __device__ explicit Divisor(A sum) : value(sum < A(1e-12) ? A(1e-12) : sum), clamped(sum < A(1e-12)) {}
};

// The sum over the P lanes of a matrix, the same in each.
template <int P, class A>
__device__ __forceinline__ A lanes_sum(A value) {
#pragma unroll
  for (int offset = P / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(whole_warp, value, offset, P);
  return value;
}

// Which row of which matrix a lane holds. Lanes without one take part in shuffles with zeros.
template <int P>
struct RowPlace {
  int64_t matrix;
  int lane, n;
  bool valid;

  __device__ explicit RowPlace(const SinkhornShape& shape)
      : matrix((int64_t(blockIdx.x) * threads + threadIdx.x) / P),
        lane(int(threadIdx.x) % P),
        n(int(shape.streams)),
        valid(matrix < shape.matrices && lane < n) {}
  __device__ bool holds(int i) const { return valid && i < n; }
  __device__ int64_t at(int i) const { return (matrix * n + lane) * n + i; }
};

// One lane's row. Entries from S on are zero and stay so, since their sums divide as the floor; their gradients are
// kept zero, for the floor would make them grow without end.
template <int P, class A>
struct Row {
  A m[P] = {};

  __device__ A row_sum() const {
    A sum = 0;
#pragma unroll
    for (int i = 0; i < P; ++i) sum += m[i];
    return sum;
  }

  // Divides the rows; returns the sum of this lane's.
  __device__ A normalise_row() {
    const A sum = row_sum();
    const Divisor<A> by(sum);
#pragma unroll
    for (int i = 0; i < P; ++i) m[i] /= by.value;
    return sum;
  }

  // Divides the columns; returns the sum of the column whose number is this lane's.
  __device__ A normalise_columns(int lane) {
    A mine = 0;
#pragma unroll
    for (int i = 0; i < P; ++i) {
      const A sum = lanes_sum<P>(m[i]);
      m[i] /= Divisor<A>(sum).value;
      if (i == lane) mine = sum;
    }
    return mine;
  }

  // Backward of normalise_row: from gradient g and values after it to those before it.
  __device__ void undo_row(const RowPlace<P>& place, A sum, A (&g)[P]) {
    const Divisor<A> by(sum);
    A dot = 0;
#pragma unroll
    for (int i = 0; i < P; ++i) dot += g[i] * m[i];
#pragma unroll
    for (int i = 0; i < P; ++i) {
      g[i] = place.holds(i) ? (by.clamped ? g[i] : g[i] - dot) / by.value : A(0);
      m[i] *= by.value;
    }
  }

  __device__ void undo_columns(const RowPlace<P>& place, A sum_of_mine, A (&g)[P]) {
#pragma unroll
    for (int i = 0; i < P; ++i) {
      const Divisor<A> by(__shfl_sync(whole_warp, sum_of_mine, i, P));
      const A dot = lanes_sum<P>(g[i] * m[i]);
      g[i] = place.holds(i) ? (by.clamped ? g[i] : g[i] - dot) / by.value : A(0);
      m[i] *= by.value;
    }
  }
};

// sums: null, or [2 iterations, all lanes of the grid].
template <int P, class A>
__device__ void project(const SinkhornShape& shape, const RowPlace<P>& place, const A* logits, Row<P, A>& row,
                        A* sums) {
  const bool rows_first = shape.order == SinkhornOrder::row_then_column;
  const int64_t lanes = int64_t(gridDim.x) * threads;
#pragma unroll
  for (int i = 0; i < P; ++i) {
    if (place.holds(i)) row.m[i] = exponential(logits[place.at(i)]);
  }
  for (int64_t k = 0; k < 2 * shape.iterations; ++k) {
    const A sum = (k % 2 == 0) == rows_first ? row.normalise_row() : row.normalise_columns(place.lane);
    if (sums) sums[k * lanes + int64_t(blockIdx.x) * threads + threadIdx.x] = sum;
  }
}

template <int P, class A>
__global__ void __launch_bounds__(threads) forward_kernel(SinkhornShape shape, const A* logits, A* H) {
  const RowPlace<P> place(shape);
  Row<P, A> row;
  project<P, A>(shape, place, logits, row, nullptr);
#pragma unroll
  for (int i = 0; i < P; ++i) {
    if (place.holds(i)) H[place.at(i)] = row.m[i];
  }
}

template <int P, class A>
__global__ void __launch_bounds__(threads)
    backward_kernel(SinkhornShape shape, const A* logits, const A* dH, A* dlogits, A* sums) {
  const RowPlace<P> place(shape);
  const bool rows_first = shape.order == SinkhornOrder::row_then_column;
  const int64_t lanes = int64_t(gridDim.x) * threads;
  Row<P, A> row;
  project<P, A>(shape, place, logits, row, sums);
  A g[P] = {};
#pragma unroll
  for (int i = 0; i < P; ++i) {
    if (place.holds(i)) g[i] = dH[place.at(i)];
  }
  for (int64_t k = 2 * shape.iterations; k-- > 0;) {
    const A sum = sums[k * lanes + int64_t(blockIdx.x) * threads + threadIdx.x];
    if ((k % 2 == 0) == rows_first) row.undo_row(place, sum, g);
    else row.undo_columns(place, sum, g);
  }
#pragma unroll
  for (int i = 0; i < P; ++i) {
    if (place.holds(i)) dlogits[place.at(i)] = g[i] * exponential(logits[place.at(i)]);
  }
}

template <int P, class A>
struct Run {
  static unsigned grid(const SinkhornShape& shape) { return unsigned((shape.matrices * P + threads - 1) / threads); }

  static void forward(Launch launch, const SinkhornShape& shape, const void* logits, void* H) {
    forward_kernel<P, A><<<grid(shape), threads, 0, stream_of(launch)>>>(shape, static_cast<const A*>(logits),
                                                                         static_cast<A*>(H));
  }

  static void backward(Launch launch, const SinkhornShape& shape, const void* logits, const void* dH, void* dlogits) {
    const Scratch<A> sums(int64_t(grid(shape)) * threads * 2 * shape.iterations + 1, stream_of(launch));
    backward_kernel<P, A><<<grid(shape), threads, 0, stream_of(launch)>>>(
        shape, static_cast<const A*>(logits), static_cast<const A*>(dH), static_cast<A*>(dlogits), sums.get());
  }
};

template <class A, class Act>
void with_lanes(int64_t streams, const Act& act) {
  if (streams == 1) act(Run<1, A>());
  else if (streams == 2) act(Run<2, A>());
  else if (streams <= 4) act(Run<4, A>());
  else act(Run<8, A>());
}

template <class Act>
void with_types(const SinkhornShape& shape, Element element, const Act& act) {
  if (shape.matrices == 0) return;
  if (element == Element::float64) with_lanes<double>(shape.streams, act);
  else with_lanes<float>(shape.streams, act);
  check_cuda(cudaGetLastError(), "Sinkhorn");
}

}  // namespace

void sinkhorn_cuda(Launch launch, SinkhornShape shape, Element element, const void* logits, void* H) {
  with_types(shape, element, [&](auto run) { run.forward(launch, shape, logits, H); });
}

void sinkhorn_backward_cuda(Launch launch, SinkhornShape shape, Element element, const void* logits, const void* dH,
                            void* dlogits) {
  with_types(shape, element, [&](auto run) { run.backward(launch, shape, logits, dH, dlogits); });
}

}  // namespace braid::kernels
