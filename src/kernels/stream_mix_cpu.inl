// SPDX-License-Identifier: Apache-2.0
// Included once per instruction set with BRAID_LEVEL defined. Memory is passed over once, vectorised over the width D.
// Gradients of coefficients are summed in fp32 lanes over a few tokens, then in double over a block of tokens, and the
// blocks are added in order: the result does not depend on the number of threads.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include <new>

#include "kernels/stream_mix_cpu.h"

namespace braid::kernels::BRAID_LEVEL {
namespace {

#include "kernels/cpu_lanes.inl"

constexpr int64_t block_tokens = 64;
constexpr int64_t group_tokens = 8;  // the lanes are added up once a group, not once a token
constexpr int max_streams = 8;
constexpr int max_coefficients = max_streams * max_streams + 2 * max_streams;

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

template <class A>
struct CoefficientArrays {
  const A *H, *c, *w_next;  // w_next null: nothing reads X'
};

// Of one token, or of all. A copy, since the compiler cannot know that stores to X' leave the arrays alone.
template <int S, class A>
struct Coefficients {
  A H[S * S], c[S], w_next[S];

  BRAID_INLINE Coefficients(const CoefficientArrays<A>& all, int64_t row) {
    for (int i = 0; i < S * S; ++i) H[i] = all.H[row * S * S + i];
    for (int s = 0; s < S; ++s) c[s] = all.c[row * S + s];
    for (int s = 0; s < S; ++s) w_next[s] = all.w_next ? all.w_next[row * S + s] : A(0);
  }
};

// Sums coefficient gradients over tokens. body(token, count, sums) adds those of `count` neighbouring tokens (1 with
// per_token) to sums [width]; put(row, sums) adds a finished sum to the row's outputs: a token's, or the one row of
// all.
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

// In what follows S is the number of streams, T the stored type, A that of coefficients.

template <int S, class T, class A>
BRAID_INLINE void read_token(int64_t D, const T* X, const A* w, T* m) {
  for_columns<T>(D, [&](int64_t d, int64_t left) BRAID_LAMBDA {
    auto sum = load(X + d, left) * w[0];
#pragma GCC unroll 8
    for (int t = 1; t < S; ++t) sum += load(X + t * D + d, left) * w[t];
    store(m + d, sum, left);
  });
}

template <int S, class T, class A>
void read_all(StreamShape shape, const T* X, const A* w, T* m) {
  const int64_t D = shape.width;
#pragma omp parallel for schedule(static)
  for (int64_t token = 0; token < shape.tokens; ++token) {
    read_token<S>(D, X + token * S * D, shape.per_token ? w + token * S : w, m + token * D);
  }
}

// Adds the tokens' dw[t] = X[t].dm to `sums` and writes dX.
template <int S, class T, class A>
BRAID_INLINE void read_tokens_backward(int64_t D, int64_t tokens, const T* X, const A* w, const T* dm, T* dX,
                                       bool accumulate, double* sums) {
  using V = typename Lanes<T>::Vector;
  V dots[S] = {};
  for (int64_t token = 0; token < tokens; ++token, X += S * D, dm += D) {
    T* const dx = dX ? dX + token * S * D : nullptr;
    for_columns<T>(D, [&](int64_t d, int64_t left) BRAID_LAMBDA {
      const V g = load(dm + d, left);
#pragma GCC unroll 8
      for (int t = 0; t < S; ++t) {
        dots[t] += load(X + t * D + d, left) * g;
        if (dx) store(dx + t * D + d, accumulate ? load(dx + t * D + d, left) + g * w[t] : g * w[t], left);
      }
    });
  }
  for (int t = 0; t < S; ++t) sums[t] += double(sum_lanes(dots[t]));
}

template <int S, class T, class A>
void read_all_backward(StreamShape shape, const T* X, const A* w, const T* dm, T* dX, bool accumulate, A* dw) {
  const int64_t D = shape.width;
  const auto body = [&](int64_t token, int64_t count, double* sums) {
    read_tokens_backward<S>(D, count, X + token * S * D, shape.per_token ? w + token * S : w, dm + token * D,
                            dX ? dX + token * S * D : nullptr, accumulate, sums);
  };
  sum_over_tokens(shape, S, body, [&](int64_t row, const double* sums) {
    for (int64_t t = 0; dw && t < S; ++t) dw[row * S + t] += A(sums[t]);
  });
}

template <int S, class T, class A>
BRAID_INLINE void write_token(int64_t D, const T* X, const Coefficients<S, A>& k, const T* f, T* X_out, T* m_next) {
  using V = typename Lanes<T>::Vector;
  for_columns<T>(D, [&](int64_t d, int64_t left) BRAID_LAMBDA {
    V x[S];  // all streams before the first store: X_out may be X
#pragma GCC unroll 8
    for (int t = 0; t < S; ++t) x[t] = load(X + t * D + d, left);
    const V fd = load(f + d, left);
    V next = {};
#pragma GCC unroll 8
    for (int s = 0; s < S; ++s) {
      V y = fd * k.c[s];
#pragma GCC unroll 8
      for (int t = 0; t < S; ++t) y += x[t] * k.H[s * S + t];
      store(X_out + s * D + d, y, left);
      next += y * k.w_next[s];
    }
    if (m_next) store(m_next + d, next, left);
  });
}

template <int S, class T, class A>
void write_all(StreamShape shape, const T* X, CoefficientArrays<A> arrays, const T* f, T* X_out, T* m_next) {
  const int64_t D = shape.width;
#pragma omp parallel for schedule(static)
  for (int64_t token = 0; token < shape.tokens; ++token) {
    const Coefficients<S, A> k(arrays, shape.per_token ? token : 0);
    write_token<S>(D, X + token * S * D, k, f + token * D, X_out + token * S * D,
                   m_next ? m_next + token * D : nullptr);
  }
}

template <class T>
struct WriteBackward {
  const T *X, *f, *X_out, *dX_out, *dm_next;  // dm_next null: nothing reads X', and X_out is any readable [M, S, D]
  T *dX, *df;

  // The same arrays from a token on.
  WriteBackward from(int64_t token, int64_t streams, int64_t D) const {
    const int64_t wide = token * streams * D, narrow = token * D;
    return {X + wide,  f + narrow, X_out + wide, dX_out + wide, dm_next ? dm_next + narrow : nullptr,
            dX + wide, df + narrow};
  }
};

// Coefficient gradients of a few tokens, one vector of lanes each.
template <int S, class T>
struct LaneSums {
  using V = typename Lanes<T>::Vector;
  V H[S * S] = {}, c[S] = {}, w[S] = {};

  BRAID_INLINE void add_to(double* sums) const {
    for (int i = 0; i < S * S; ++i) sums[i] += double(sum_lanes(H[i]));
    for (int s = 0; s < S; ++s) sums[S * S + s] += double(sum_lanes(c[s]));
    for (int s = 0; s < S; ++s) sums[S * S + S + s] += double(sum_lanes(w[s]));
  }
};

// With G_s = dX'_s + w'_s dm':  dX_t = sum_s H[s,t] G_s,  df = sum_s c_s G_s,  dH[s,t] = G_s.X_t,  dc_s = G_s.f.
template <int S, class T, class A>
BRAID_INLINE void write_token_backward(int64_t D, const Coefficients<S, A>& k, WriteBackward<T> p,
                                       LaneSums<S, T>& sums) {
  using V = typename Lanes<T>::Vector;
  for_columns<T>(D, [&](int64_t d, int64_t left) BRAID_LAMBDA {
    const V fd = load(p.f + d, left);
    const V dm = p.dm_next ? load(p.dm_next + d, left) : V{};
    V g[S], df = {};  // all streams before the first store: dX may be dX_out
#pragma GCC unroll 8
    for (int s = 0; s < S; ++s) {
      g[s] = load(p.dX_out + s * D + d, left) + dm * k.w_next[s];
      sums.w[s] += dm * load(p.X_out + s * D + d, left);
      df += g[s] * k.c[s];
      sums.c[s] += g[s] * fd;
    }
    store(p.df + d, df, left);
#pragma GCC unroll 8
    for (int t = 0; t < S; ++t) {
      const V x = load(p.X + t * D + d, left);
      V dx = {};
#pragma GCC unroll 8
      for (int s = 0; s < S; ++s) {
        dx += g[s] * k.H[s * S + t];
        sums.H[s * S + t] += g[s] * x;
      }
      store(p.dX + t * D + d, dx, left);
    }
  });
}

template <int S, class T, class A>
void write_all_backward(StreamShape shape, CoefficientArrays<A> arrays, WriteBackward<T> p, A* dH, A* dc, A* dw_next) {
  const int64_t D = shape.width;
  const auto body = [&](int64_t first, int64_t count, double* sums) {
    const Coefficients<S, A> k(arrays, shape.per_token ? first : 0);
    LaneSums<S, T> lanes;
    for (int64_t token = first; token < first + count; ++token)
      write_token_backward<S>(D, k, p.from(token, S, D), lanes);
    lanes.add_to(sums);
  };
  sum_over_tokens(shape, S * S + 2 * S, body, [&](int64_t row, const double* sums) {
    for (int64_t i = 0; dH && i < S * S; ++i) dH[row * S * S + i] += A(sums[i]);
    for (int64_t s = 0; dc && s < S; ++s) dc[row * S + s] += A(sums[S * S + s]);
    for (int64_t s = 0; p.dm_next && dw_next && s < S; ++s) dw_next[row * S + s] += A(sums[S * S + S + s]);
  });
}

#include "kernels/stream_mix_dispatch.inl"

}  // namespace

const StreamMixTable stream_mix = {read, read_backward, write_read, write_read_backward};

}  // namespace braid::kernels::BRAID_LEVEL
