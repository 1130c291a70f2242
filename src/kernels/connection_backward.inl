// SPDX-License-Identifier: Apache-2.0
// Part of connection_cpu.inl. With dy the gradient of y, g = r dy and q = r^2 (y . dy) / (S D), what reaches X' is
//   G = dX' + w dm' + g P' - q X',  and dP = X'' g, which is summed in a second pass, columns shared out among threads;
// with HC r, y, g and q are a stream's own, and q has D for S D.

template <class T, class A = typename Lanes<T>::Scalar>
struct BackwardArrays {
  const T *X, *f, *X_out;  // f null: X is X'
  const A *c, *H, *projected, *rstd, *read, *write;
  const T *dX_out, *dm;
  const A *dwrite, *dmix;
  T *dX, *df;
  A *dc, *dH;

  BackwardArrays(const ConnectionWrite& in, const ConnectionSaved& saved, const ConnectionOutputGradients& given,
                 const ConnectionInputGradients& out)
      : X(static_cast<const T*>(in.X)),
        f(static_cast<const T*>(in.f)),
        X_out(static_cast<const T*>(saved.X)),
        c(static_cast<const A*>(in.write)),
        H(static_cast<const A*>(in.mix)),
        projected(static_cast<const A*>(saved.projected)),
        rstd(static_cast<const A*>(saved.rstd)),
        read(static_cast<const A*>(saved.read)),
        write(static_cast<const A*>(saved.write)),
        dX_out(static_cast<const T*>(given.X)),
        dm(static_cast<const T*>(given.m)),
        dwrite(static_cast<const A*>(given.write)),
        dmix(static_cast<const A*>(given.mix)),
        dX(static_cast<T*>(out.X)),
        df(static_cast<T*>(out.f)),
        dc(static_cast<A*>(out.write)),
        dH(static_cast<A*>(out.mix)) {}
};

// A thread's memory; the gradients of scale and bias are a tile's.
template <int S, class A>
struct BackwardSpace {
  using V = VectorOf<A>;
  static constexpr int coefficients = S * S + S;  // dH, then dc
  ZeroedArray<A> G, dread, along;
  ZeroedArray<V> lanes, sums;
  V dscale[3], dbias[most_logits];

  explicit BackwardSpace(const Plan<S, A>& plan)
      : G(plan.tile * plan.chunk_row),
        dread(plan.tile * S),
        along(plan.tile * plan.norms),
        lanes(plan.tile * coefficients),
        sums(plan.sums()) {}
};

// dw[t] = X'[t] . dm'.
template <int S, class T, class A = typename Lanes<T>::Scalar>
BRAID_INLINE void read_gradient(int64_t D, const T* X, const T* dm, A* dread) {
  typename Lanes<T>::Vector dots[S] = {};
  for_columns<T>(D, [&](int64_t d, int64_t left) BRAID_LAMBDA {
    const auto gradient = load(dm + d, left);
#pragma GCC unroll 8
    for (int t = 0; t < S; ++t) dots[t] += load(X + t * D + d, left) * gradient;
  });
  for (int t = 0; t < S; ++t) dread[t] = sum_lanes(dots[t]);
}

template <int S, class T, class A = typename Lanes<T>::Scalar>
void unconstrained_gradients(const BackwardArrays<T>& a, int64_t first, int64_t n, const A* dread, VectorOf<A>* draw) {
  using At = HyperLogits<S>;
  for (int s = 0; s < S; ++s) {
    draw[At::read(s)] = gather(dread + s, S, n);
    draw[At::write(s)] = gather(a.dwrite + first * S + s, S, n);
    for (int i = 0; i < S; ++i) draw[At::mix(i, s)] = gather(a.dmix + first * S * S + i * S + s, S * S, n);
  }
}

// The gradient of raw, of n tokens from `first`, at most a lane each; dread [n, S].
template <int S, class T, class A = typename Lanes<T>::Scalar>
void raw_gradients(const Plan<S, A>& plan, const ConnectionWeights& weights, const BackwardArrays<T>& a, int64_t first,
                   int64_t n, const A* dread, VectorOf<A>* sums, VectorOf<A>* draw) {
  using V = VectorOf<A>;
  if (!plan.is_constrained()) return unconstrained_gradients<S, T>(a, first, n, dread, draw);
  for (int s = 0; s < S; ++s) {
    const V w = gather(a.read + first * S + s, S, n), c = gather(a.write + first * S + s, S, n);
    draw[s] = gather(dread + s, S, n) * w * (A(1) - w);
    draw[S + s] = gather(a.dwrite + first * S + s, S, n) * c * (A(1) - c * A(0.5));
  }
  V raw[most_logits], dH[S * S];
  raw_lanes<S, A>(plan, a.projected + first * plan.logits, n, weights, raw);
  for (int i = 0; i < S * S; ++i) dH[i] = gather(a.dmix + first * S * S + i, S * S, n);
  if (plan.shape->mixing == Mixing::sinkhorn) {
    sinkhorn_lanes_backward<S, A>(raw + 2 * S, plan.shape->iterations, dH, sums);
    for (int i = 0; i < S * S; ++i) draw[2 * S + i] = dH[i];
  } else if constexpr (S <= 4) {
    permutation_lanes_backward<S, A>(raw + 2 * S, dH, draw + 2 * S);
  }
}

// From the gradient of raw to g [n, N, padded] and q [n, N], and to those of scale and bias.
template <int S, class T, class A = typename Lanes<T>::Scalar>
void projected_gradients(const Plan<S, A>& plan, const ConnectionWeights& weights, const BackwardArrays<T>& a,
                         int64_t first, int64_t n, const VectorOf<A>* draw, A* g, A* along,
                         BackwardSpace<S, A>& space) {
  using V = VectorOf<A>;
  const A* const scale = static_cast<const A*>(weights.scale);
  const int64_t N = plan.norms, K = plan.logits;
  for (int64_t norm = 0; norm < N; ++norm) {
    const V rstd = gather(a.rstd + first * N + norm, N, n);
    V dot = {};
    for (int64_t j = 0; j < plan.each; ++j) {
      const int64_t k = norm * plan.each + j, part = plan.part_of(k);
      const V y = gather(a.projected + first * K + k, K, n);
      V scaled = y, dy = draw[k] * scale[part];
      if (!plan.is_constrained()) {
        scaled = hyperbolic_tangent(y);
        dy *= A(1) - scaled * scaled;
      }
      space.dbias[k] += draw[k];
      space.dscale[part] += draw[k] * scaled;
      dot += y * dy;
      scatter(g + norm * plan.padded + j, N * plan.padded, n, rstd * dy);
    }
    scatter(along + norm, N, n, dot * rstd * rstd / A(plan.blocks() * plan.width));
  }
}

// G of some columns of a token, but for g P'. `step` is 0 where all streams have one norm.
template <int S, class T, class A = typename Lanes<T>::Scalar>
BRAID_INLINE void begin_columns(int64_t D, int64_t columns, const T* X, const T* dX_out, const T* dm, const A* read,
                                const A* along, int64_t step, A* G) {
  A w[S], q[S];
  for (int s = 0; s < S; ++s) w[s] = read[s], q[s] = along[s * step];
  for_columns<T>(columns, [&](int64_t d, int64_t left) BRAID_LAMBDA {
    const auto gradient = load(dm + d, left);
#pragma GCC unroll 8
    for (int s = 0; s < S; ++s) {
      const auto sum = load(dX_out + s * D + d, left) + gradient * w[s] - load(X + s * D + d, left) * q[s];
      store(G + s * chunk_columns + d, sum, Lanes<T>::count);
    }
  });
}

// dX[t] = sum_s H[s,t] G[s], df = sum_s c[s] G[s].
template <int S, class T, class A = typename Lanes<T>::Scalar>
BRAID_INLINE void unwrite_columns(int64_t D, int64_t columns, const A* c_all, const A* H_all, const A* G, T* dX, T* df) {
  using V = typename Lanes<T>::Vector;
  A c[S], H[S * S];
  for (int i = 0; i < S; ++i) c[i] = c_all[i];
  for (int i = 0; i < S * S; ++i) H[i] = H_all[i];
  for_columns<T>(columns, [&](int64_t d, int64_t left) BRAID_LAMBDA {
    V g[S], sum = {};
#pragma GCC unroll 8
    for (int s = 0; s < S; ++s) {
      g[s] = load(G + s * chunk_columns + d, Lanes<T>::count);
      sum += g[s] * c[s];
    }
    store(df + d, sum, left);
#pragma GCC unroll 8
    for (int t = 0; t < S; ++t) {
      V dx = {};
#pragma GCC unroll 8
      for (int s = 0; s < S; ++s) dx += g[s] * H[s * S + t];
      store(dX + t * D + d, dx, left);
    }
  });
}

// dH[s,t] += G[s] X[t] and dc[s] += G[s] f of R streams s, in lanes: as many sums at once as there are registers for.
template <int S, int R, class T, class A = typename Lanes<T>::Scalar>
BRAID_INLINE void add_products(int64_t D, int64_t columns, const T* X, const T* f, const A* G,
                               typename Lanes<T>::Vector* dH, typename Lanes<T>::Vector* dc) {
  using V = typename Lanes<T>::Vector;
  V sums[R][S + 1];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int t = 0; t < S; ++t) sums[r][t] = dH[r * S + t];
    sums[r][S] = dc[r];
  }
  for_columns<T>(columns, [&](int64_t d, int64_t left) BRAID_LAMBDA {
    V g[R];
    const V fd = load(f + d, left);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      g[r] = load(G + r * chunk_columns + d, Lanes<T>::count);
      sums[r][S] += g[r] * fd;
    }
#pragma GCC unroll 8
    for (int t = 0; t < S; ++t) {
      const V x = load(X + t * D + d, left);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) sums[r][t] += g[r] * x;
    }
  });
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int t = 0; t < S; ++t) dH[r * S + t] = sums[r][t];
    dc[r] = sums[r][S];
  }
}

template <int S, class T, class A = typename Lanes<T>::Scalar>
BRAID_INLINE void give_columns(int64_t D, int64_t columns, const A* G, T* dX) {
  for_columns<T>(columns, [&](int64_t d, int64_t left) BRAID_LAMBDA {
#pragma GCC unroll 8
    for (int s = 0; s < S; ++s) store(dX + s * D + d, load(G + s * chunk_columns + d, Lanes<T>::count), left);
  });
}

// What G of a token's columns from d on gives to what was written, and in lanes to its coefficients.
template <int S, class T, class A = typename Lanes<T>::Scalar>
BRAID_INLINE void unwrite_token(const BackwardArrays<T>& a, int64_t D, int64_t token, int64_t d, int64_t columns, const A* G,
                                typename Lanes<T>::Vector* lanes) {
  constexpr int at_once = S <= 4 ? S : 2;
  const int64_t wide = token * S * D + d, narrow = token * D + d;
  prefetch_columns<S>(a.X + wide + S * D, D, columns);
  prefetch_columns<1>(a.f + narrow + D, D, columns);
  prefetch_columns<S, 1>(a.dX + wide + S * D, D, columns);
  prefetch_columns<1, 1>(a.df + narrow + D, D, columns);
  unwrite_columns<S, T>(D, columns, a.c + token * S, a.H + token * S * S, G, a.dX + wide, a.df + narrow);
  for (int s = 0; s < S; s += at_once) {
    add_products<S, at_once, T>(D, columns, a.X + wide, a.f + narrow, G + s * chunk_columns, lanes + s * S, lanes + S * S + s);
  }
}

// One chunk of n tokens from `first`; P a chunk of packed_chunks.
template <int S, class T, class A = typename Lanes<T>::Scalar>
void backward_chunk(const Plan<S, A>& plan, const BackwardArrays<T>& a, const A* P, const A* g, int64_t chunk,
                    int64_t first, int64_t n, BackwardSpace<S, A>& space) {
  const int64_t D = plan.width, K = plan.each, N = plan.norms, row = plan.chunk_row, d = chunk * chunk_columns;
  const int64_t columns = plan.columns_of(chunk);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t token = first + i, wide = token * S * D + d;
    prefetch_columns<S>(a.dX_out + wide + S * D, D, columns);
    begin_columns<S, T>(D, columns, a.X_out + wide, a.dX_out + wide, a.dm + token * D + d, a.read + token * S,
                        &space.along[i * N], plan.norm_of(1), &space.G[i * row]);
  }
  for (int64_t s = 0; s < S; ++s) {
    small_product<true, A>({g + plan.norm_of(s) * plan.padded, N * plan.padded, 1},
                           P + plan.block_of(s) * K * chunk_columns, chunk_columns, &space.G[s * chunk_columns], row, n,
                           K, whole_vectors<A>(columns));
  }
  for (int64_t i = 0; i < n; ++i) {
    const int64_t token = first + i;
    if (!a.f) {
      give_columns<S, T>(D, columns, &space.G[i * row], a.dX + token * S * D + d);
    } else {
      unwrite_token<S, T>(a, D, token, d, columns, &space.G[i * row], &space.lanes[i * space.coefficients]);
    }
  }
}

// g of the tile's tokens, and what it adds to the gradients of scale and bias [3 + K].
template <int S, class T, class A = typename Lanes<T>::Scalar>
void close_gates(const Plan<S, A>& plan, const ConnectionWeights& weights, const BackwardArrays<T>& a, int64_t first,
                 int64_t n, A* g, double* totals, BackwardSpace<S, A>& space) {
  constexpr int64_t count = Lanes<A>::count;
  const int64_t D = plan.width;
  for (int64_t i = 0; i < n; ++i) {
    read_gradient<S, T>(D, a.X_out + (first + i) * S * D, a.dm + (first + i) * D, &space.dread[i * S]);
  }
  for (auto& sum : space.dscale) sum = VectorOf<A>{};
  for (auto& sum : space.dbias) sum = VectorOf<A>{};
  for (int64_t i = 0; i < n; i += count) {
    VectorOf<A> draw[most_logits];
    const int64_t some = smaller(count, n - i);
    raw_gradients<S, T>(plan, weights, a, first + i, some, &space.dread[i * S], &space.sums[0], draw);
    projected_gradients<S, T>(plan, weights, a, first + i, some, draw, g + i * plan.norms * plan.padded,
                              &space.along[i * plan.norms], space);
  }
  for (int part = 0; part < 3; ++part) totals[part] = double(sum_lanes(space.dscale[part]));
  for (int64_t k = 0; k < plan.logits; ++k) totals[3 + k] = double(sum_lanes(space.dbias[k]));
}

template <int S, class T, class A = typename Lanes<T>::Scalar>
void backward_tile(const Plan<S, A>& plan, const ConnectionWeights& weights, const BackwardArrays<T>& a, const A* P,
                   int64_t first, int64_t n, A* g, double* totals, BackwardSpace<S, A>& space) {
  constexpr int coefficients = BackwardSpace<S, A>::coefficients;
  close_gates<S, T>(plan, weights, a, first, n, g, totals, space);
  for (int64_t i = 0; i < n * coefficients; ++i) space.lanes[i] = VectorOf<A>{};
  for (int64_t chunk = 0; chunk < plan.chunks; ++chunk) {
    backward_chunk<S, T>(plan, a, P + chunk * plan.blocks() * plan.each * chunk_columns, g, chunk, first, n, space);
  }
  for (int64_t i = 0; a.f && i < n; ++i) {
    const VectorOf<A>* const lanes = &space.lanes[i * coefficients];
    for (int j = 0; j < S * S; ++j) a.dH[(first + i) * S * S + j] = sum_lanes(lanes[j]);
    for (int s = 0; s < S; ++s) a.dc[(first + i) * S + s] = sum_lanes(lanes[S * S + s]);
  }
}
