// SPDX-License-Identifier: Apache-2.0
// Included once per instruction set with BRAID_LEVEL defined. Memory is passed over once, vectorised over the width D.
// Gradients of coefficients are summed per block of tokens in double and the blocks are added in order, so that the
// result does not depend on the number of threads.
#include <cstring>
#include <vector>

#include "kernels/stream_mix_cpu.h"

namespace braid::kernels::BRAID_LEVEL {
namespace {

#include "kernels/cpu_lanes.inl"

constexpr int64_t block_tokens = 256;
constexpr int max_streams = 8;

int64_t blocks_of(int64_t tokens) { return (tokens + block_tokens - 1) / block_tokens; }

template <class A>
struct Coefficients {  // of one token, or of all
  const A *H, *c, *w_next;
};

// S > 0 is known when compiling; 0 takes it from the shape.
template <int S, class T, class A>
BRAID_INLINE void read_token(int streams, int64_t D, const T* X, const A* w, T* m) {
  const int n = S ? S : streams;
  for (int64_t d = 0; d < D; d += Lanes<T>::count) {
    const int64_t left = D - d;
    auto sum = load(X + d, left) * w[0];
    for (int t = 1; t < n; ++t) sum += load(X + t * D + d, left) * w[t];
    store(m + d, sum, left);
  }
}

template <int S, class T, class A>
void read_all(StreamShape shape, const T* X, const A* w, T* m) {
  const int64_t D = shape.width, n = shape.streams;
#pragma omp parallel for schedule(static)
  for (int64_t token = 0; token < shape.tokens; ++token) {
    read_token<S>(int(n), D, X + token * n * D, shape.per_token ? w + token * n : w, m + token * D);
  }
}

// Adds a token's dw[t] = X[t].dm to `sums` and writes dX.
template <int S, class T, class A>
BRAID_INLINE void read_token_backward(int streams, int64_t D, const T* X, const A* w, const T* dm, T* dX, bool accumulate,
                                      double* sums) {
  using V = typename Lanes<T>::Vector;
  const int n = S ? S : streams;
  V dots[S ? S : max_streams] = {};
  for (int64_t d = 0; d < D; d += Lanes<T>::count) {
    const int64_t left = D - d;
    const V g = load(dm + d, left);
    for (int t = 0; t < n; ++t) {
      dots[t] += load(X + t * D + d, left) * g;
      if (dX) store(dX + t * D + d, accumulate ? load(dX + t * D + d, left) + g * w[t] : g * w[t], left);
    }
  }
  for (int t = 0; t < n; ++t) sums[t] += double(sum_lanes(dots[t]));
}

// Runs `token_body(token, sums)` over all tokens; sums [width] are per block, then added to out in block order. With
// per_token they are added to row `token` of out.
template <class A, class Body>
void sum_over_tokens(int64_t tokens, int64_t width, bool per_token, A* out, const Body& token_body) {
  const int64_t blocks = blocks_of(tokens);
  std::vector<double> partial(size_t(blocks * width), 0.0);
#pragma omp parallel for schedule(static)
  for (int64_t block = 0; block < blocks; ++block) {
    double* sums = partial.data() + block * width;
    const int64_t end = block * block_tokens + block_tokens < tokens ? block * block_tokens + block_tokens : tokens;
    for (int64_t token = block * block_tokens; token < end; ++token) {
      token_body(token, sums);
      if (!per_token) continue;
      if (out) for (int64_t i = 0; i < width; ++i) out[token * width + i] += A(sums[i]);
      for (int64_t i = 0; i < width; ++i) sums[i] = 0;
    }
  }
  if (per_token || !out) return;
  for (int64_t i = 0; i < width; ++i) {
    double total = 0;
    for (int64_t block = 0; block < blocks; ++block) total += partial[size_t(block * width + i)];
    out[i] += A(total);
  }
}

template <int S, class T, class A>
void read_all_backward(StreamShape shape, const T* X, const A* w, const T* dm, T* dX, bool accumulate, A* dw) {
  const int64_t D = shape.width, n = shape.streams;
  sum_over_tokens(shape.tokens, n, shape.per_token, dw, [&](int64_t token, double* sums) {
    read_token_backward<S>(int(n), D, X + token * n * D, shape.per_token ? w + token * n : w, dm + token * D,
                           dX ? dX + token * n * D : nullptr, accumulate, sums);
  });
}

template <int S, class T, class A>
BRAID_INLINE void write_token(int streams, int64_t D, const T* X, Coefficients<A> k, const T* f, T* X_out, T* m_next) {
  using V = typename Lanes<T>::Vector;
  const int n = S ? S : streams;
  for (int64_t d = 0; d < D; d += Lanes<T>::count) {
    const int64_t left = D - d;
    V x[S ? S : max_streams];
    for (int t = 0; t < n; ++t) x[t] = load(X + t * D + d, left);
    const V fd = load(f + d, left);
    V next = {};
    for (int s = 0; s < n; ++s) {
      V y = fd * k.c[s];
      for (int t = 0; t < n; ++t) y += x[t] * k.H[s * n + t];
      store(X_out + s * D + d, y, left);
      if (m_next) next += y * k.w_next[s];
    }
    if (m_next) store(m_next + d, next, left);
  }
}

template <class A>
BRAID_INLINE Coefficients<A> at_token(const StreamShape& shape, Coefficients<A> k, int64_t token) {
  if (!shape.per_token) return k;
  const int64_t n = shape.streams;
  return {k.H + token * n * n, k.c + token * n, k.w_next ? k.w_next + token * n : nullptr};
}

template <int S, class T, class A>
void write_all(StreamShape shape, const T* X, Coefficients<A> k, const T* f, T* X_out, T* m_next) {
  const int64_t D = shape.width, n = shape.streams;
#pragma omp parallel for schedule(static)
  for (int64_t token = 0; token < shape.tokens; ++token) {
    write_token<S>(int(n), D, X + token * n * D, at_token(shape, k, token), f + token * D, X_out + token * n * D,
                   m_next ? m_next + token * D : nullptr);
  }
}

template <class T>
struct WriteBackward {  // pointers of one token
  const T *X, *f, *X_out, *dX_out, *dm_next;
  T *dX, *df;
};

// sums: dH [S, S], dc [S], dw_next [S]. With G_s = dX'_s + w'_s dm':  dX_t = sum_s H[s,t] G_s,  df = sum_s c_s G_s.
template <int S, class T, class A>
BRAID_INLINE void write_token_backward(int streams, int64_t D, Coefficients<A> k, WriteBackward<T> p, double* sums) {
  using V = typename Lanes<T>::Vector;
  constexpr int N = S ? S : max_streams;
  const int n = S ? S : streams;
  V dH[N * N] = {}, dc[N] = {}, dw[N] = {};
  for (int64_t d = 0; d < D; d += Lanes<T>::count) {
    const int64_t left = D - d;
    const V fd = load(p.f + d, left);
    V g[N], x[N], df = {};
    V dm = {};
    if (p.dm_next) dm = load(p.dm_next + d, left);
    for (int s = 0; s < n; ++s) {
      g[s] = load(p.dX_out + s * D + d, left);
      x[s] = load(p.X + s * D + d, left);
      if (p.dm_next) {
        g[s] += dm * k.w_next[s];
        dw[s] += dm * load(p.X_out + s * D + d, left);
      }
      df += g[s] * k.c[s];
      dc[s] += g[s] * fd;
    }
    for (int t = 0; t < n; ++t) {
      V dx = {};
      for (int s = 0; s < n; ++s) {
        dx += g[s] * k.H[s * n + t];
        dH[s * n + t] += g[s] * x[t];
      }
      store(p.dX + t * D + d, dx, left);
    }
    store(p.df + d, df, left);
  }
  for (int i = 0; i < n * n; ++i) sums[i] += double(sum_lanes(dH[i]));
  for (int s = 0; s < n; ++s) {
    sums[n * n + s] += double(sum_lanes(dc[s]));
    sums[n * n + n + s] += double(sum_lanes(dw[s]));
  }
}

template <int S, class T, class A>
void write_all_backward(StreamShape shape, Coefficients<A> k, WriteBackward<T> p, A* dH, A* dc, A* dw_next) {
  const int64_t D = shape.width, n = shape.streams, width = n * n + 2 * n;
  const int64_t rows = shape.per_token ? shape.tokens : 1;
  std::vector<A> sums(size_t(rows * width), A(0));
  sum_over_tokens(shape.tokens, width, shape.per_token, sums.data(), [&](int64_t token, double* token_sums) {
    const int64_t wide = token * n * D, narrow = token * D;
    write_token_backward<S>(int(n), D, at_token(shape, k, token),
                            WriteBackward<T>{p.X + wide, p.f + narrow, p.X_out ? p.X_out + wide : nullptr, p.dX_out + wide,
                                             p.dm_next ? p.dm_next + narrow : nullptr, p.dX + wide, p.df + narrow},
                            token_sums);
  });
  for (int64_t row = 0; row < rows; ++row) {
    const A* from = sums.data() + row * width;
    for (int64_t i = 0; i < n * n; ++i) dH[row * n * n + i] += from[i];
    for (int64_t s = 0; s < n; ++s) dc[row * n + s] += from[n * n + s];
    if (dw_next && p.dm_next) for (int64_t s = 0; s < n; ++s) dw_next[row * n + s] += from[n * n + n + s];
  }
}

// Calls act.template operator()<S, T>() for the shape and the element type.
template <class T, class Act>
void with_streams(int64_t streams, const Act& act) {
  switch (streams) {
    case 1: return act.template operator()<1, T>();
    case 2: return act.template operator()<2, T>();
    case 4: return act.template operator()<4, T>();
    default: return act.template operator()<0, T>();
  }
}

template <class Act>
void with_types(StreamShape shape, Element element, const Act& act) {
  switch (element) {
    case Element::float32: return with_streams<float>(shape.streams, act);
    case Element::bfloat16: return with_streams<Bf16>(shape.streams, act);
    case Element::float64: return with_streams<double>(shape.streams, act);
  }
}

template <class T>
using Coefficient = typename Lanes<T>::Scalar;

void read(StreamShape shape, Element element, const void* X, const void* w, void* m) {
  with_types(shape, element, [&]<int S, class T>() {
    read_all<S>(shape, static_cast<const T*>(X), static_cast<const Coefficient<T>*>(w), static_cast<T*>(m));
  });
}

void read_backward(StreamShape shape, Element element, const void* X, const void* w, const void* dm, void* dX,
                   bool accumulate, void* dw) {
  with_types(shape, element, [&]<int S, class T>() {
    read_all_backward<S>(shape, static_cast<const T*>(X), static_cast<const Coefficient<T>*>(w), static_cast<const T*>(dm),
                         static_cast<T*>(dX), accumulate, static_cast<Coefficient<T>*>(dw));
  });
}

template <class A>
Coefficients<A> coefficients(const void* H, const void* c, const void* w_next) {
  return {static_cast<const A*>(H), static_cast<const A*>(c), static_cast<const A*>(w_next)};
}

void write_read(StreamShape shape, Element element, const void* X, const void* H, const void* c, const void* f,
                const void* w_next, void* X_out, void* m_next) {
  with_types(shape, element, [&]<int S, class T>() {
    write_all<S>(shape, static_cast<const T*>(X), coefficients<Coefficient<T>>(H, c, w_next), static_cast<const T*>(f),
                 static_cast<T*>(X_out), static_cast<T*>(m_next));
  });
}

void write_read_backward(StreamShape shape, Element element, const void* X, const void* H, const void* c, const void* f,
                         const void* w_next, const void* X_out, const void* dX_out, const void* dm_next, void* dX, void* df,
                         void* dH, void* dc, void* dw_next) {
  with_types(shape, element, [&]<int S, class T>() {
    using A = Coefficient<T>;
    const WriteBackward<T> p{static_cast<const T*>(X),       static_cast<const T*>(f),  static_cast<const T*>(X_out),
                             static_cast<const T*>(dX_out), static_cast<const T*>(dm_next), static_cast<T*>(dX),
                             static_cast<T*>(df)};
    write_all_backward<S>(shape, coefficients<A>(H, c, w_next), p, static_cast<A*>(dH), static_cast<A*>(dc),
                          static_cast<A*>(dw_next));
  });
}

}  // namespace

const StreamMixTable stream_mix = {read, read_backward, write_read, write_read_backward};

}  // namespace braid::kernels::BRAID_LEVEL
