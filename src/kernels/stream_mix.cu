// SPDX-License-Identifier: Apache-2.0
// Each thread owns W neighbouring columns (16 bytes where the width allows) of some tokens, so that memory is read and
// written once. Coefficients and sums stay in registers; the grid does not depend on the device, so neither do results.
#include <initializer_list>

#include "kernels/cuda_support.cuh"
#include "kernels/stream_mix_cuda.h"
#include "kernels/stream_mix_reduce.cuh"

namespace braid::kernels {

namespace {

constexpr int threads = 128;

// S > 0 is the number of streams, known when compiling; S = 0 takes it from the shape and keeps room for 8.
template <int S>
struct Streams {
  static constexpr int N = S ? S : 8;
  int from_shape;
  __device__ explicit Streams(const StreamShape& shape) : from_shape(int(shape.streams)) {}
  __device__ int count() const { return S ? S : from_shape; }
  __device__ bool has(int s) const { return S || s < from_shape; }
};

template <int S, class A>
struct Coefficients {
  static constexpr int N = Streams<S>::N;
  A H[N * N] = {}, c[N] = {}, w[N] = {};

  __device__ void load(Streams<S> streams, const A* all_H, const A* all_c, const A* all_w, int64_t row) {
    const int n = streams.count();
#pragma unroll
    for (int s = 0; s < N; ++s) {
      if (!streams.has(s)) continue;
      if (all_c) c[s] = all_c[row * n + s];
      if (all_w) w[s] = all_w[row * n + s];
#pragma unroll
      for (int t = 0; t < N; ++t) {
        if (all_H && streams.has(t)) H[s * N + t] = all_H[(row * n + s) * n + t];
      }
    }
  }
};

template <class T, class A>
struct Arrays {  // of all four kernels; those a kernel does not use are null
  const T *X, *f, *X_out, *dX_out, *dm;
  T *to_X, *to_narrow;  // X' or dX; m, m' or df
  const A *H, *c, *w;
};

// body(token, d) for this thread's tokens and first columns; start(token) when the block moves on to a token,
// end(token) after it. All threads of a block with blockDim.y == 1 run through the same tokens.
template <int W, class Start, class Body, class End>
__device__ __forceinline__ void for_tokens(const StreamShape& shape, const Start& start, const Body& body,
                                           const End& end) {
  const int64_t stride = int64_t(gridDim.x) * blockDim.y;
  for (int64_t token = int64_t(blockIdx.x) * blockDim.y + threadIdx.y; token < shape.tokens; token += stride) {
    start(token);
    for (int64_t d = int64_t(threadIdx.x) * W; d < shape.width; d += int64_t(blockDim.x) * W) body(token, d);
    end(token);
  }
}

template <int S, int W, class T, class A>
__global__ void __launch_bounds__(threads) read_kernel(StreamShape shape, Arrays<T, A> p) {
  const Streams<S> streams(shape);
  const int n = streams.count();
  Coefficients<S, A> k;
  k.load(streams, nullptr, nullptr, p.w, 0);
  const auto start = [&](int64_t token) {
    if (shape.per_token) k.load(streams, nullptr, nullptr, p.w, token);
  };
  const auto body = [&](int64_t token, int64_t d) {
    A sum[W] = {};
#pragma unroll
    for (int t = 0; t < Streams<S>::N; ++t) {
      if (!streams.has(t)) continue;
      A x[W];
      load<W>(p.X + (token * n + t) * shape.width + d, x);
#pragma unroll
      for (int i = 0; i < W; ++i) sum[i] += k.w[t] * x[i];
    }
    store<W>(p.to_narrow + token * shape.width + d, sum);
  };
  for_tokens<W>(shape, start, body, [](int64_t) {});
}

template <int S, int W, class T, class A>
__global__ void __launch_bounds__(threads) write_kernel(StreamShape shape, Arrays<T, A> p) {
  constexpr int N = Streams<S>::N;
  const Streams<S> streams(shape);
  const int n = streams.count();
  Coefficients<S, A> k;
  k.load(streams, p.H, p.c, p.w, 0);
  const auto start = [&](int64_t token) {
    if (shape.per_token) k.load(streams, p.H, p.c, p.w, token);
  };
  const auto body = [&](int64_t token, int64_t d) {
    A x[N][W], f[W], next[W] = {};  // all streams before the first store: X_out may be X
#pragma unroll
    for (int t = 0; t < N; ++t) {
      if (streams.has(t)) load<W>(p.X + (token * n + t) * shape.width + d, x[t]);
    }
    load<W>(p.f + token * shape.width + d, f);
#pragma unroll
    for (int s = 0; s < N; ++s) {
      if (!streams.has(s)) continue;
      A y[W];
#pragma unroll
      for (int i = 0; i < W; ++i) {
        y[i] = k.c[s] * f[i];
#pragma unroll
        for (int t = 0; t < N; ++t) {
          if (streams.has(t)) y[i] += k.H[s * N + t] * x[t][i];
        }
        next[i] += k.w[s] * y[i];
      }
      store<W>(p.to_X + (token * n + s) * shape.width + d, y);
    }
    if (p.to_narrow) store<W>(p.to_narrow + token * shape.width + d, next);
  };
  for_tokens<W>(shape, start, body, [](int64_t) {});
}

template <int S, int W, class T, class A>
__global__ void __launch_bounds__(threads)
    read_backward_kernel(StreamShape shape, Arrays<T, A> p, bool accumulate, A* partial,
                         ReadGradients<Streams<S>::N, A> gradients) {
  constexpr int N = Streams<S>::N;
  using Sums = BlockSums<threads, A, ReadGradients<N, A>>;
  __shared__ A shared[threads / warp_size * Sums::count];
  const Streams<S> streams(shape);
  const int n = streams.count();
  Coefficients<S, A> k;
  k.load(streams, nullptr, nullptr, p.w, 0);
  Sums sums;
  const auto start = [&](int64_t token) {
    if (shape.per_token) k.load(streams, nullptr, nullptr, p.w, token);
  };
  const auto body = [&](int64_t token, int64_t d) {
    A g[W];
    load<W>(p.dm + token * shape.width + d, g);
#pragma unroll
    for (int t = 0; t < N; ++t) {
      if (!streams.has(t)) continue;
      const int64_t at = (token * n + t) * shape.width + d;
      A x[W], dx[W] = {};
      load<W>(p.X + at, x);
      if (accumulate) load<W>(p.to_X + at, dx);
#pragma unroll
      for (int i = 0; i < W; ++i) {
        sums.values[t] += x[i] * g[i];
        dx[i] += k.w[t] * g[i];
      }
      if (p.to_X) store<W>(p.to_X + at, dx);
    }
  };
  for_tokens<W>(shape, start, body, [&](int64_t token) {
    if (shape.per_token) sums.to_row(shared, gradients, token);
  });
  if (!shape.per_token) sums.to_partial(shared, partial);
}

// With G_s = dX'_s + w'_s dm':  dX_t = sum_s H[s,t] G_s,  df = sum_s c_s G_s,  dH[s,t] = G_s.X_t,  dc_s = G_s.f.
template <int S, int W, class T, class A>
__global__ void __launch_bounds__(threads)
    write_backward_kernel(StreamShape shape, Arrays<T, A> p, A* partial, WriteGradients<Streams<S>::N, A> gradients) {
  constexpr int N = Streams<S>::N;
  using Sums = BlockSums<threads, A, WriteGradients<N, A>>;
  __shared__ A shared[threads / warp_size * Sums::count];
  const Streams<S> streams(shape);
  const int n = streams.count();
  Coefficients<S, A> k;
  k.load(streams, p.H, p.c, p.w, 0);
  Sums sums;
  A *const dH = sums.values, *const dc = dH + N * N, *const dw = dc + N;
  const auto start = [&](int64_t token) {
    if (shape.per_token) k.load(streams, p.H, p.c, p.w, token);
  };
  const auto body = [&](int64_t token, int64_t d) {
    A g[N][W], f[W], dm[W] = {}, df[W] = {};  // all streams before the first store: dX may be dX_out
    load<W>(p.f + token * shape.width + d, f);
    if (p.dm) load<W>(p.dm + token * shape.width + d, dm);
#pragma unroll
    for (int s = 0; s < N; ++s) {
      if (!streams.has(s)) continue;
      const int64_t at = (token * n + s) * shape.width + d;
      A y[W] = {};
      load<W>(p.dX_out + at, g[s]);
      if (p.dm) load<W>(p.X_out + at, y);
#pragma unroll
      for (int i = 0; i < W; ++i) {
        g[s][i] += k.w[s] * dm[i];
        dw[s] += y[i] * dm[i];
        df[i] += k.c[s] * g[s][i];
        dc[s] += f[i] * g[s][i];
      }
    }
    store<W>(p.to_narrow + token * shape.width + d, df);
#pragma unroll
    for (int t = 0; t < N; ++t) {
      if (!streams.has(t)) continue;
      const int64_t at = (token * n + t) * shape.width + d;
      A x[W], dx[W] = {};
      load<W>(p.X + at, x);
#pragma unroll
      for (int s = 0; s < N; ++s) {
        if (!streams.has(s)) continue;
#pragma unroll
        for (int i = 0; i < W; ++i) {
          dx[i] += k.H[s * N + t] * g[s][i];
          dH[s * N + t] += x[i] * g[s][i];
        }
      }
      store<W>(p.to_X + at, dx);
    }
  };
  for_tokens<W>(shape, start, body, [&](int64_t token) {
    if (shape.per_token) sums.to_row(shared, gradients, token);
  });
  if (!shape.per_token) sums.to_partial(shared, partial);
}

#include "kernels/stream_mix_launch.cuh"

}  // namespace

void stream_read_cuda(Launch launch, StreamShape shape, Element element, const void* X, const void* w, void* m) {
  with_types(shape, element, {X, m}, [&](auto ops) {
    auto p = ops.arrays(X, nullptr, nullptr, nullptr, nullptr, nullptr, m, nullptr, nullptr, w);
    ops.read(launch, shape, p);
  });
}

void stream_read_backward_cuda(Launch launch, StreamShape shape, Element element, const void* X, const void* w,
                               const void* dm, void* dX, bool accumulate, void* dw) {
  with_types(shape, element, {X, dm, dX}, [&](auto ops) {
    auto p = ops.arrays(X, nullptr, nullptr, nullptr, dm, dX, nullptr, nullptr, nullptr, w);
    ops.read_backward(launch, shape, p, accumulate && dX, dw);
  });
}

void stream_write_read_cuda(Launch launch, StreamShape shape, Element element, const void* X, const void* H,
                            const void* c, const void* f, const void* w_next, void* X_out, void* m_next) {
  with_types(shape, element, {X, f, X_out, m_next}, [&](auto ops) {
    auto p = ops.arrays(X, f, nullptr, nullptr, nullptr, X_out, m_next, H, c, m_next ? w_next : nullptr);
    ops.write(launch, shape, p);
  });
}

void stream_write_read_backward_cuda(Launch launch, StreamShape shape, Element element, const void* X, const void* H,
                                     const void* c, const void* f, const void* w_next, const void* X_out,
                                     const void* dX_out, const void* dm_next, void* dX, void* df, void* dH, void* dc,
                                     void* dw_next) {
  with_types(shape, element, {X, f, X_out, dX_out, dm_next, dX, df}, [&](auto ops) {
    auto p = ops.arrays(X, f, X_out, dX_out, dm_next, dX, df, H, c, dm_next ? w_next : nullptr);
    ops.write_backward(launch, shape, p, dH, dc, dm_next ? dw_next : nullptr);
  });
}

}  // namespace braid::kernels
