// SPDX-License-Identifier: Apache-2.0
// One thread per (token, group of columns): memory is read and written once, neighbouring threads touch neighbouring
// columns. Backward blocks own a fixed run of tokens; their coefficient gradients go to scratch and a second kernel adds
// them in block order, so that the result is the same from run to run.
#include "kernels/cuda_support.cuh"
#include "kernels/stream_mix_cuda.h"

namespace braid::kernels {

namespace {

constexpr int threads = 128;
constexpr int most = 8;

// S > 0 is known when compiling; 0 takes it from the shape.
template <int S>
__device__ __forceinline__ int streams_of(const StreamShape& shape) { return S ? S : int(shape.streams); }

template <int S, class T, class A>
__global__ void read_kernel(StreamShape shape, const T* X, const A* w, T* m) {
  const int n = streams_of<S>(shape);
  const int64_t D = shape.width, elements = shape.tokens * D;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < elements; i += int64_t(gridDim.x) * blockDim.x) {
    const int64_t token = i / D, d = i % D;
    const A* wt = shape.per_token ? w + token * n : w;
    A sum = 0;
    for (int t = 0; t < n; ++t) sum += wt[t] * widen(X[(token * n + t) * D + d]);
    m[i] = narrow<T>(sum);
  }
}

template <int S, class T, class A>
__global__ void write_kernel(StreamShape shape, const T* X, const A* H, const A* c, const T* f, const A* w_next, T* X_out,
                             T* m_next) {
  const int n = streams_of<S>(shape);
  const int64_t D = shape.width, elements = shape.tokens * D;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < elements; i += int64_t(gridDim.x) * blockDim.x) {
    const int64_t token = i / D, d = i % D, offset = shape.per_token ? token : 0;
    A x[S ? S : most];
    for (int t = 0; t < n; ++t) x[t] = widen(X[(token * n + t) * D + d]);
    const A fd = widen(f[i]);
    A next = 0;
    for (int s = 0; s < n; ++s) {
      A y = c[offset * n + s] * fd;
      for (int t = 0; t < n; ++t) y += H[(offset * n + s) * n + t] * x[t];
      X_out[(token * n + s) * D + d] = narrow<T>(y);
      if (m_next) next += w_next[offset * n + s] * y;
    }
    if (m_next) m_next[i] = narrow<T>(next);
  }
}

// Block b owns tokens [b * per_block, …); partial [blocks, n] (or [tokens, n] with per_token, one token a block).
template <int S, class T, class A>
__global__ void read_backward_kernel(StreamShape shape, int64_t per_block, const T* X, const A* w, const T* dm, T* dX,
                                     bool accumulate, A* partial) {
  __shared__ A shared[32];
  const int n = streams_of<S>(shape);
  const int64_t D = shape.width, first = blockIdx.x * per_block;
  const int64_t count = (first + per_block < shape.tokens ? per_block : shape.tokens - first) * D;
  A sums[S ? S : most] = {};
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
    const int64_t token = first + i / D, d = i % D;
    const A* wt = shape.per_token ? w + token * n : w;
    const A g = widen(dm[token * D + d]);
    for (int t = 0; t < n; ++t) {
      const int64_t at = (token * n + t) * D + d;
      sums[t] += widen(X[at]) * g;
      if (dX) dX[at] = narrow<T>((accumulate ? widen(dX[at]) : A(0)) + wt[t] * g);
    }
  }
  for (int t = 0; t < n; ++t) {
    const A total = block_sum(sums[t], shared);
    if (threadIdx.x == 0) partial[int64_t(blockIdx.x) * n + t] = total;
  }
}

template <class T, class A>
struct WriteBackward {
  const T *X, *f, *X_out, *dX_out, *dm_next;
  const A *H, *c, *w_next;
  T *dX, *df;
};

// partial [blocks, n n + 2 n]: dH, dc, dw_next.
template <int S, class T, class A>
__global__ void write_backward_kernel(StreamShape shape, int64_t per_block, WriteBackward<T, A> p, A* partial) {
  __shared__ A shared[32];
  constexpr int N = S ? S : most;
  const int n = streams_of<S>(shape);
  const int64_t D = shape.width, first = blockIdx.x * per_block;
  const int64_t count = (first + per_block < shape.tokens ? per_block : shape.tokens - first) * D;
  A dH[N * N] = {}, dc[N] = {}, dw[N] = {};
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
    const int64_t token = first + i / D, d = i % D, offset = shape.per_token ? token : 0;
    const A fd = widen(p.f[token * D + d]);
    const A dm = p.dm_next ? widen(p.dm_next[token * D + d]) : A(0);
    A g[N], x[N], df = 0;
    for (int s = 0; s < n; ++s) {
      const int64_t at = (token * n + s) * D + d;
      g[s] = widen(p.dX_out[at]);
      x[s] = widen(p.X[at]);
      if (p.dm_next) {
        g[s] += p.w_next[offset * n + s] * dm;
        dw[s] += dm * widen(p.X_out[at]);
      }
      df += p.c[offset * n + s] * g[s];
      dc[s] += g[s] * fd;
    }
    for (int t = 0; t < n; ++t) {
      A dx = 0;
      for (int s = 0; s < n; ++s) {
        dx += p.H[(offset * n + s) * n + t] * g[s];
        dH[s * n + t] += g[s] * x[t];
      }
      p.dX[(token * n + t) * D + d] = narrow<T>(dx);
    }
    p.df[token * D + d] = narrow<T>(df);
  }
  A* mine = partial + int64_t(blockIdx.x) * (n * n + 2 * n);
  const auto put = [&](int index, A value) {
    const A total = block_sum(value, shared);
    if (threadIdx.x == 0) mine[index] = total;
  };
  for (int i = 0; i < n * n; ++i) put(i, dH[i]);
  for (int s = 0; s < n; ++s) put(n * n + s, dc[s]);
  for (int s = 0; s < n; ++s) put(n * n + n + s, dw[s]);
}

// out[row, i] += sum over the row's blocks of partial[block, first + i], in block order.
template <class A>
__global__ void add_partials(int64_t rows, int64_t blocks_per_row, int64_t stride, int64_t first, int64_t count,
                             const A* partial, A* out) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= rows * count) return;
  double total = 0;
  for (int64_t block = 0; block < blocks_per_row; ++block) {
    total += double(partial[((i / count) * blocks_per_row + block) * stride + first + i % count]);
  }
  out[i] += A(total);
}

// How backward cuts the tokens: a token a block when coefficients are per token, else about 1000 blocks.
struct Cut {
  int64_t per_block, blocks, rows;
  explicit Cut(const StreamShape& shape)
      : per_block(shape.per_token ? 1 : (shape.tokens + 1023) / 1024),
        blocks((shape.tokens + per_block - 1) / per_block),
        rows(shape.per_token ? shape.tokens : 1) {}
};

template <class A>
void add(const Cut& cut, int64_t stride, int64_t first, int64_t count, const A* partial, void* out, cudaStream_t stream) {
  if (!out) return;
  const int64_t elements = cut.rows * count;
  add_partials<A><<<unsigned((elements + 127) / 128), 128, 0, stream>>>(cut.rows, cut.blocks / cut.rows, stride, first, count,
                                                                       partial, static_cast<A*>(out));
}

unsigned grid_for(const StreamShape& shape) {
  const int64_t blocks = (shape.tokens * shape.width + threads - 1) / threads;
  return unsigned(blocks < 65535 * 16 ? blocks : 65535 * 16);
}

template <int S, class T>
struct Ops {
  using A = typename Accumulate<T>::Type;

  static void read(Launch launch, StreamShape shape, const void* X, const void* w, void* m) {
    read_kernel<S, T, A><<<grid_for(shape), threads, 0, stream_of(launch)>>>(shape, static_cast<const T*>(X),
                                                                             static_cast<const A*>(w), static_cast<T*>(m));
  }

  static void read_backward(Launch launch, StreamShape shape, const void* X, const void* w, const void* dm, void* dX,
                            bool accumulate, void* dw) {
    const Cut cut(shape);
    const Scratch<A> partial(cut.blocks * shape.streams, stream_of(launch));
    read_backward_kernel<S, T, A><<<unsigned(cut.blocks), threads, 0, stream_of(launch)>>>(
        shape, cut.per_block, static_cast<const T*>(X), static_cast<const A*>(w), static_cast<const T*>(dm),
        static_cast<T*>(dX), accumulate, partial.get());
    add<A>(cut, shape.streams, 0, shape.streams, partial.get(), dw, stream_of(launch));
  }

  static void write(Launch launch, StreamShape shape, const void* X, const void* H, const void* c, const void* f,
                    const void* w_next, void* X_out, void* m_next) {
    write_kernel<S, T, A><<<grid_for(shape), threads, 0, stream_of(launch)>>>(
        shape, static_cast<const T*>(X), static_cast<const A*>(H), static_cast<const A*>(c), static_cast<const T*>(f),
        static_cast<const A*>(w_next), static_cast<T*>(X_out), static_cast<T*>(m_next));
  }

  static void write_backward(Launch launch, StreamShape shape, const WriteBackward<T, A>& p, void* dH, void* dc,
                             void* dw_next) {
    const Cut cut(shape);
    const int64_t n = shape.streams, stride = n * n + 2 * n;
    const Scratch<A> partial(cut.blocks * stride, stream_of(launch));
    write_backward_kernel<S, T, A><<<unsigned(cut.blocks), threads, 0, stream_of(launch)>>>(shape, cut.per_block, p,
                                                                                            partial.get());
    add<A>(cut, stride, 0, n * n, partial.get(), dH, stream_of(launch));
    add<A>(cut, stride, n * n, n, partial.get(), dc, stream_of(launch));
    add<A>(cut, stride, n * n + n, n, partial.get(), p.dm_next ? dw_next : nullptr, stream_of(launch));
  }
};

template <class T, class Act>
void with_streams(int64_t streams, const Act& act) {
  switch (streams) {
    case 1: return act(Ops<1, T>());
    case 2: return act(Ops<2, T>());
    case 4: return act(Ops<4, T>());
    default: return act(Ops<0, T>());
  }
}

template <class Act>
void with_types(const StreamShape& shape, Element element, const Act& act) {
  if (shape.tokens == 0) return;
  switch (element) {
    case Element::float32: with_streams<float>(shape.streams, act); break;
    case Element::bfloat16: with_streams<__nv_bfloat16>(shape.streams, act); break;
    case Element::float64: with_streams<double>(shape.streams, act); break;
  }
  check_cuda(cudaGetLastError(), "stream mixing");
}

template <int S, class T>
WriteBackward<T, typename Accumulate<T>::Type> pointers(Ops<S, T>, const void* X, const void* H, const void* c, const void* f,
                                                        const void* w_next, const void* X_out, const void* dX_out,
                                                        const void* dm_next, void* dX, void* df) {
  using A = typename Accumulate<T>::Type;
  return {static_cast<const T*>(X),       static_cast<const T*>(f), static_cast<const T*>(X_out), static_cast<const T*>(dX_out),
          static_cast<const T*>(dm_next), static_cast<const A*>(H), static_cast<const A*>(c),     static_cast<const A*>(w_next),
          static_cast<T*>(dX),            static_cast<T*>(df)};
}

}  // namespace

void stream_read_cuda(Launch launch, StreamShape shape, Element element, const void* X, const void* w, void* m) {
  with_types(shape, element, [&](auto ops) { ops.read(launch, shape, X, w, m); });
}

void stream_read_backward_cuda(Launch launch, StreamShape shape, Element element, const void* X, const void* w,
                               const void* dm, void* dX, bool accumulate, void* dw) {
  with_types(shape, element, [&](auto ops) { ops.read_backward(launch, shape, X, w, dm, dX, accumulate, dw); });
}

void stream_write_read_cuda(Launch launch, StreamShape shape, Element element, const void* X, const void* H, const void* c,
                            const void* f, const void* w_next, void* X_out, void* m_next) {
  with_types(shape, element, [&](auto ops) { ops.write(launch, shape, X, H, c, f, w_next, X_out, m_next); });
}

void stream_write_read_backward_cuda(Launch launch, StreamShape shape, Element element, const void* X, const void* H,
                                     const void* c, const void* f, const void* w_next, const void* X_out,
                                     const void* dX_out, const void* dm_next, void* dX, void* df, void* dH, void* dc,
                                     void* dw_next) {
  with_types(shape, element, [&](auto ops) {
    ops.write_backward(launch, shape, pointers(ops, X, H, c, f, w_next, X_out, dX_out, dm_next, dX, df), dH, dc, dw_next);
  });
}

}  // namespace braid::kernels
