// SPDX-License-Identifier: Apache-2.0
// Included once per instruction set with BRAID_LEVEL defined. Memory is passed over once, vectorised over the width D.
// Gradients of coefficients are summed in fp32 lanes over a few tokens, then in double over a block of tokens, and the
// blocks are added in order: the result does not depend on the number of threads.
#include <cstdint>
#include <new>

#include "kernels/stream_mix_cpu.h"

namespace braid::kernels::BRAID_LEVEL {
namespace {

#include "kernels/cpu_lanes.inl"

constexpr int64_t block_tokens = 64;
constexpr int64_t group_tokens = 8;  // lanes are summed into double once a group: 5 % of the time at D = 128
constexpr int max_streams = 8;
constexpr int max_coefficients = max_streams * max_streams + 2 * max_streams;

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

template <class A>
struct Coefficients {  // of one token, or of all
  const A *H, *c, *w_next;
};

template <class A>
BRAID_INLINE Coefficients<A> at_token(const StreamShape& shape, Coefficients<A> k, int64_t token) {
  if (!shape.per_token) return k;
  const int64_t n = shape.streams;
  return {k.H + token * n * n, k.c + token * n, k.w_next ? k.w_next + token * n : nullptr};
}

// Sums coefficient gradients over tokens. body(token, count, sums) adds those of `count` neighbouring tokens (1 with
// per_token) to sums [width]; put(row, sums) adds a finished sum to the row's outputs: a token's, or the one row of all.
template <class Body, class Put>
void sum_over_tokens(const StreamShape& shape, int64_t width, const Body& body, const Put& put) {
  const int64_t blocks = (shape.tokens + block_tokens - 1) / block_tokens, step = shape.per_token ? 1 : group_tokens;
  const ZeroedArray<double> partial(blocks * width);
#pragma omp parallel for schedule(static)
  for (int64_t block = 0; block < blocks; ++block) {
    double sums[max_coefficients] = {};
    const int64_t end = smaller((block + 1) * block_tokens, shape.tokens);
    for (int64_t token = block * block_tokens; token < end; token += step) {
      body(token, smaller(step, end - token), sums);
      if (!shape.per_token) continue;
      put(token, sums);
      for (int64_t i = 0; i < width; ++i) sums[i] = 0;
    }
    for (int64_t i = 0; i < width; ++i) partial[block * width + i] = sums[i];
  }
  if (shape.per_token) return;
  double totals[max_coefficients] = {};
  for (int64_t block = 0; block < blocks; ++block) {
    for (int64_t i = 0; i < width; ++i) totals[i] += partial[block * width + i];
  }
  put(0, totals);
}

// In what follows S > 0 is the number of streams, known when compiling; 0 takes it from the shape.

template <int S, class T, class A>
BRAID_INLINE void read_token(int streams, int64_t D, const T* X, const A* w, T* m) {
  const int n = S ? S : streams;
  for_columns<T>(D, [&](int64_t d, int64_t left) BRAID_LAMBDA {
    auto sum = load(X + d, left) * w[0];
#pragma GCC unroll 8
    for (int t = 1; t < n; ++t) sum += load(X + t * D + d, left) * w[t];
    store(m + d, sum, left);
  });
}

template <int S, class T, class A>
void read_all(StreamShape shape, const T* X, const A* w, T* m) {
  const int64_t D = shape.width, n = shape.streams;
#pragma omp parallel for schedule(static)
  for (int64_t token = 0; token < shape.tokens; ++token) {
    read_token<S>(int(n), D, X + token * n * D, shape.per_token ? w + token * n : w, m + token * D);
  }
}

// Adds the tokens' dw[t] = X[t].dm to `sums` and writes dX.
template <int S, class T, class A>
BRAID_INLINE void read_tokens_backward(int streams, int64_t D, int64_t tokens, const T* X, const A* w, const T* dm, T* dX,
                                       bool accumulate, double* sums) {
  using V = typename Lanes<T>::Vector;
  const int n = S ? S : streams;
  V dots[S ? S : max_streams] = {};
  for (int64_t token = 0; token < tokens; ++token, X += n * D, dm += D) {
    T* const dx = dX ? dX + token * n * D : nullptr;
    for_columns<T>(D, [&](int64_t d, int64_t left) BRAID_LAMBDA {
      const V g = load(dm + d, left);
#pragma GCC unroll 8
      for (int t = 0; t < n; ++t) {
        dots[t] += load(X + t * D + d, left) * g;
        if (dx) store(dx + t * D + d, accumulate ? load(dx + t * D + d, left) + g * w[t] : g * w[t], left);
      }
    });
  }
  for (int t = 0; t < n; ++t) sums[t] += double(sum_lanes(dots[t]));
}

template <int S, class T, class A>
void read_all_backward(StreamShape shape, const T* X, const A* w, const T* dm, T* dX, bool accumulate, A* dw) {
  const int64_t D = shape.width, n = shape.streams;
  const auto body = [&](int64_t token, int64_t count, double* sums) {
    read_tokens_backward<S>(int(n), D, count, X + token * n * D, shape.per_token ? w + token * n : w, dm + token * D,
                            dX ? dX + token * n * D : nullptr, accumulate, sums);
  };
  sum_over_tokens(shape, n, body, [&](int64_t row, const double* sums) {
    for (int64_t t = 0; dw && t < n; ++t) dw[row * n + t] += A(sums[t]);
  });
}

template <int S, class T, class A>
BRAID_INLINE void write_token(int streams, int64_t D, const T* X, Coefficients<A> k, const T* f, T* X_out, T* m_next) {
  using V = typename Lanes<T>::Vector;
  const int n = S ? S : streams;
  for_columns<T>(D, [&](int64_t d, int64_t left) BRAID_LAMBDA {
    V x[S ? S : max_streams];  // all streams before the first store: X_out may be X
#pragma GCC unroll 8
    for (int t = 0; t < n; ++t) x[t] = load(X + t * D + d, left);
    const V fd = load(f + d, left);
    V next = {};
#pragma GCC unroll 8
    for (int s = 0; s < n; ++s) {
      V y = fd * k.c[s];
#pragma GCC unroll 8
      for (int t = 0; t < n; ++t) y += x[t] * k.H[s * n + t];
      store(X_out + s * D + d, y, left);
      if (m_next) next += y * k.w_next[s];
    }
    if (m_next) store(m_next + d, next, left);
  });
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
struct WriteBackward {
  const T *X, *f, *X_out, *dX_out, *dm_next;
  T *dX, *df;

  // The same arrays from a token on; n is the number of streams, D the width.
  WriteBackward from(int64_t token, int64_t n, int64_t D) const {
    const int64_t wide = token * n * D, narrow = token * D;
    return {X + wide, f + narrow, dm_next ? X_out + wide : nullptr, dX_out + wide, dm_next ? dm_next + narrow : nullptr,
            dX + wide, df + narrow};
  }
};

// Coefficient gradients of a few tokens, one vector of lanes each.
template <int S, class T>
struct LaneSums {
  using V = typename Lanes<T>::Vector;
  static constexpr int N = S ? S : max_streams;
  V H[N * N] = {}, c[N] = {}, w[N] = {};

  BRAID_INLINE void add_to(double* sums, int n) const {
    for (int i = 0; i < n * n; ++i) sums[i] += double(sum_lanes(H[i]));
    for (int s = 0; s < n; ++s) sums[n * n + s] += double(sum_lanes(c[s]));
    for (int s = 0; s < n; ++s) sums[n * n + n + s] += double(sum_lanes(w[s]));
  }
};

// With G_s = dX'_s + w'_s dm':  dX_t = sum_s H[s,t] G_s,  df = sum_s c_s G_s,  dH[s,t] = G_s.X_t,  dc_s = G_s.f.
template <int S, bool has_read, class T, class A>
BRAID_INLINE void write_token_backward(int streams, int64_t D, Coefficients<A> k, WriteBackward<T> p, LaneSums<S, T>& sums) {
  using V = typename Lanes<T>::Vector;
  constexpr int N = S ? S : max_streams;
  const int n = S ? S : streams;
  for_columns<T>(D, [&](int64_t d, int64_t left) BRAID_LAMBDA {
    const V fd = load(p.f + d, left);
    const V dm = has_read ? load(p.dm_next + d, left) : V{};
    V g[N], df = {};  // all streams before the first store: dX may be dX_out
#pragma GCC unroll 8
    for (int s = 0; s < n; ++s) {
      g[s] = load(p.dX_out + s * D + d, left);
      if (has_read) {
        g[s] += dm * k.w_next[s];
        sums.w[s] += dm * load(p.X_out + s * D + d, left);
      }
      df += g[s] * k.c[s];
      sums.c[s] += g[s] * fd;
    }
    store(p.df + d, df, left);
#pragma GCC unroll 8
    for (int t = 0; t < n; ++t) {
      const V x = load(p.X + t * D + d, left);
      V dx = {};
#pragma GCC unroll 8
      for (int s = 0; s < n; ++s) {
        dx += g[s] * k.H[s * n + t];
        sums.H[s * n + t] += g[s] * x;
      }
      store(p.dX + t * D + d, dx, left);
    }
  });
}

template <int S, bool has_read, class T, class A>
void write_all_backward(StreamShape shape, Coefficients<A> k, WriteBackward<T> p, A* dH, A* dc, A* dw_next) {
  const int64_t D = shape.width, n = shape.streams;
  const auto body = [&](int64_t first, int64_t count, double* sums) {
    LaneSums<S, T> lanes;
    for (int64_t token = first; token < first + count; ++token) {
      write_token_backward<S, has_read>(int(n), D, at_token(shape, k, token), p.from(token, n, D), lanes);
    }
    lanes.add_to(sums, int(n));
  };
  sum_over_tokens(shape, n * n + 2 * n, body, [&](int64_t row, const double* sums) {
    for (int64_t i = 0; i < n * n; ++i) dH[row * n * n + i] += A(sums[i]);
    for (int64_t s = 0; s < n; ++s) dc[row * n + s] += A(sums[n * n + s]);
    if (has_read) for (int64_t s = 0; s < n; ++s) dw_next[row * n + s] += A(sums[n * n + n + s]);
  });
}

#include "kernels/stream_mix_dispatch.inl"

}  // namespace

const StreamMixTable stream_mix = {read, read_backward, write_read, write_read_backward};

}  // namespace braid::kernels::BRAID_LEVEL
