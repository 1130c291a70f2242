// SPDX-License-Identifier: Apache-2.0
// Part of connection_cpu.inl. S is the number of streams, T the stored type, A that of coefficients.

template <class T, class A = typename Lanes<T>::Scalar>
struct ForwardArrays {
  const T *X, *f;  // f null: X is X'
  const A *c, *H;
  T* X_out;
  A *projected, *rstd, *read, *write, *mix;
  T* m;

  ForwardArrays(const ConnectionWrite& in, const ConnectionOutputs& out)
      : X(static_cast<const T*>(in.X)),
        f(static_cast<const T*>(in.f)),
        c(static_cast<const A*>(in.write)),
        H(static_cast<const A*>(in.mix)),
        X_out(static_cast<T*>(out.X)),
        projected(static_cast<A*>(out.projected)),
        rstd(static_cast<A*>(out.rstd)),
        read(static_cast<A*>(out.read)),
        write(static_cast<A*>(out.write)),
        mix(static_cast<A*>(out.mix)),
        m(static_cast<T*>(out.m)) {}
};

// Writes some columns of a token's X', keeps them in the computing type, and adds their squares to those of N norms.
template <int S, int N, bool writes, class T, class A = typename Lanes<T>::Scalar>
BRAID_INLINE void write_columns(const T* X, const T* f, const A* c_all, const A* H_all, T* X_out, int64_t D,
                                int64_t columns, A* kept, A* sums) {
  using V = typename Lanes<T>::Vector;
  A c[S], H[S * S];  // copies, since the compiler cannot know that stores leave the arrays alone
  for (int i = 0; writes && i < S; ++i) c[i] = c_all[i];
  for (int i = 0; writes && i < S * S; ++i) H[i] = H_all[i];
  V squares[N] = {};
  for_columns<T>(columns, [&](int64_t d, int64_t left) BRAID_LAMBDA {
    V x[S];
#pragma GCC unroll 8
    for (int t = 0; t < S; ++t) x[t] = load(X + t * D + d, left);
#pragma GCC unroll 8
    for (int s = 0; s < S; ++s) {
      V y = x[s];
      if constexpr (writes) {
        y = load(f + d, left) * c[s];
#pragma GCC unroll 8
        for (int t = 0; t < S; ++t) y += x[t] * H[s * S + t];
        store(X_out + s * D + d, y, left);
        if constexpr (sizeof(T) != sizeof(A)) y = load(X_out + s * D + d, left);  // rounded, as others see it
      }
      store(kept + s * chunk_columns + d, y, Lanes<T>::count);
      squares[N == 1 ? 0 : s] += y * y;
    }
  });
  for (int i = 0; i < N; ++i) sums[i] += sum_lanes(squares[i]);
}

template <int S, class T, class A = typename Lanes<T>::Scalar>
BRAID_INLINE void read_columns(int64_t D, const T* X, const A* read, T* m) {
  A w[S];
  for (int t = 0; t < S; ++t) w[t] = read[t];
  for_columns<T>(D, [&](int64_t d, int64_t left) BRAID_LAMBDA {
    auto sum = load(X + d, left) * w[0];
#pragma GCC unroll 8
    for (int t = 1; t < S; ++t) sum += load(X + t * D + d, left) * w[t];
    store(m + d, sum, left);
  });
}

// raw = scale y + bias of up to as many tokens as there are lanes; HC's scale tanh(y) + bias.
template <int S, class A>
BRAID_INLINE void raw_lanes(const Plan<S, A>& plan, const A* projected, int64_t n, const ConnectionWeights& weights,
                            VectorOf<A>* raw) {
  const A *scale = static_cast<const A*>(weights.scale), *bias = static_cast<const A*>(weights.bias);
  for (int64_t k = 0; k < plan.logits; ++k) {
    VectorOf<A> y = gather(projected + k, plan.logits, n);
    if (!plan.is_constrained()) y = hyperbolic_tangent(y);
    raw[k] = y * scale[plan.part_of(k)] + bias[k];
  }
}

// Where HC has the coefficients of a stream s among the logits: w[s], c[s], and H[i,s].
template <int S>
struct HyperLogits {
  static constexpr int read(int s) { return s * (2 + S); }
  static constexpr int write(int s) { return s * (2 + S) + 1; }
  static constexpr int mix(int i, int s) { return s * (2 + S) + 2 + i; }
};

template <int S, class T, class A = typename Lanes<T>::Scalar>
BRAID_INLINE void give_unconstrained(const VectorOf<A>* raw, const ForwardArrays<T>& a, int64_t first, int64_t n) {
  using At = HyperLogits<S>;
  for (int s = 0; s < S; ++s) {
    scatter(a.read + first * S + s, S, n, raw[At::read(s)]);
    scatter(a.write + first * S + s, S, n, raw[At::write(s)]);
    for (int i = 0; i < S; ++i) scatter(a.mix + first * S * S + i * S + s, S * S, n, raw[At::mix(i, s)]);
  }
}

// w, c' and H' of n tokens from `first`, at most a lane each.
template <int S, class T, class A = typename Lanes<T>::Scalar>
void open_gates(const Plan<S, A>& plan, const ConnectionWeights& weights, const ForwardArrays<T>& a, int64_t first,
                int64_t n, VectorOf<A>* sums) {
  VectorOf<A> raw[most_logits], H[S * S];
  raw_lanes<S, A>(plan, a.projected + first * plan.logits, n, weights, raw);
  if (!plan.is_constrained()) return give_unconstrained<S, T>(raw, a, first, n);
  for (int s = 0; s < S; ++s) {
    scatter(a.read + first * S + s, S, n, sigmoid<A>(raw[s]));
    scatter(a.write + first * S + s, S, n, A(2) * sigmoid<A>(raw[S + s]));
  }
  if (plan.shape->mixing == Mixing::sinkhorn)
    sinkhorn_lanes<S, A>(raw + 2 * S, plan.shape->iterations, H, sums);
  else if constexpr (S <= 4)
    permutation_lanes<S, A>(raw + 2 * S, H);
  for (int i = 0; i < S * S; ++i) scatter(a.mix + first * S * S + i, S * S, n, H[i]);
}

// A thread's memory.
template <int S, class A>
struct ForwardSpace {
  ZeroedArray<A> kept, y, squares;
  ZeroedArray<VectorOf<A>> sums;

  explicit ForwardSpace(const Plan<S, A>& plan)
      : kept(plan.tile * plan.chunk_row),
        y(plan.tile * plan.norms * plan.padded),
        squares(plan.tile * plan.norms),
        sums(plan.sums()) {}
};

// X' of n tokens from `first`, their products with P and the sums of their squares.
template <int S, int N, bool writes, class T, class A = typename Lanes<T>::Scalar>
void write_and_project(const Plan<S, A>& plan, const ForwardArrays<T>& a, const A* P, int64_t first, int64_t n,
                       ForwardSpace<S, A>& space) {
  const int64_t D = plan.width, row = plan.chunk_row, padded = plan.padded;
  for (int64_t i = 0; i < n * N * padded; ++i) space.y[i] = 0;
  for (int64_t i = 0; i < n * N; ++i) space.squares[i] = 0;
  for (int64_t chunk = 0; chunk < plan.chunks; ++chunk) {
    const int64_t d = chunk * chunk_columns, columns = plan.columns_of(chunk);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t token = first + i, wide = token * S * D + d;
      prefetch_columns<S>(a.X + wide + S * D, D, columns);
      if (writes) prefetch_columns<1>(a.f + (token + 1) * D + d, D, columns);
      write_columns<S, N, writes, T>(a.X + wide, writes ? a.f + token * D + d : nullptr, a.c + token * S,
                                     a.H + token * S * S, a.X_out + wide, D, columns, &space.kept[i * row],
                                     &space.squares[i * N]);
    }
    for (int64_t s = 0; s < S; ++s) {
      small_product<true, A>({&space.kept[s * chunk_columns], row, 1}, P + (plan.block_of(s) * D + d) * padded, padded,
                             &space.y[plan.norm_of(s) * padded], N * padded, n, columns, padded);
    }
  }
}

template <int S, int N, class T, class A = typename Lanes<T>::Scalar>
void forward_tile(const Plan<S, A>& plan, const ConnectionWeights& weights, const ForwardArrays<T>& a, const A* P,
                  int64_t first, int64_t n, ForwardSpace<S, A>& space) {
  a.f ? write_and_project<S, N, true, T>(plan, a, P, first, n, space)
      : write_and_project<S, N, false, T>(plan, a, P, first, n, space);
  const int64_t D = plan.width, K = plan.each;
  for (int64_t i = 0; i < n * N; ++i) {
    const double mean = double(space.squares[i]) / double(S / N * D);
    const A rstd = A(1 / __builtin_sqrt(mean + plan.shape->epsilon));
    a.rstd[first * N + i] = rstd;
    for (int64_t k = 0; k < K; ++k) a.projected[(first * N + i) * K + k] = space.y[i * plan.padded + k] * rstd;
  }
  for (int64_t i = 0; i < n; i += Lanes<A>::count) {
    open_gates<S, T>(plan, weights, a, first + i, smaller(Lanes<A>::count, n - i), &space.sums[0]);
  }
  const T* const X = a.f ? a.X_out : a.X;
  for (int64_t token = first; token < first + n; ++token) {
    read_columns<S, T>(D, X + token * S * D, a.read + token * S, a.m + token * D);
  }
}

// P with its rows padded to whole vectors.
template <class A>
void pad_rows(const A* P, int64_t rows, int64_t columns, int64_t padded, const ZeroedArray<A>& out) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t k = 0; k < columns; ++k) out[row * padded + k] = P[row * columns + k];
  }
}

template <int S, int N, class T, class A = typename Lanes<T>::Scalar>
void forward_tiles(const ConnectionShape& shape, const ConnectionWeights& weights, const ForwardArrays<T>& arrays) {
  const Plan<S, A> plan(shape);
  const A* P = static_cast<const A*>(weights.projection);
  const bool pads = plan.padded != plan.each;
  const int64_t rows = plan.blocks() * plan.width;
  const ZeroedArray<A> apart(pads ? rows * plan.padded : 0);
  if (pads) pad_rows(P, rows, plan.each, plan.padded, apart);
  if (pads) P = &apart[0];
#pragma omp parallel
  {
    ForwardSpace<S, A> space(plan);
#pragma omp for schedule(static)
    for (int64_t i = 0; i < plan.tiles(); ++i) {
      forward_tile<S, N, T>(plan, weights, arrays, P, i * plan.tile, smaller(plan.tile, plan.tokens - i * plan.tile),
                            space);
    }
  }
}
