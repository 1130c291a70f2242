// SPDX-License-Identifier: Apache-2.0
// Part of connection_cpu.inl: the gradient of P, and all of backward. In chunks P is transposed, [chunk, block,
// logits of a norm, columns], so that a product's rows lie close together.

template <int S, class A>
void pack_chunks(const Plan<S, A>& plan, const A* P, const ZeroedArray<A>& out) {
  const int64_t D = plan.width, K = plan.each, blocks = plan.blocks();
#pragma omp parallel for schedule(static)
  for (int64_t part = 0; part < plan.chunks * blocks; ++part) {
    const int64_t chunk = part / blocks, block = part % blocks, columns = plan.columns_of(chunk);
    const A* const from = P + (block * D + chunk * chunk_columns) * K;
    for (int64_t j = 0; j < columns; ++j) {
      for (int64_t k = 0; k < K; ++k) out[(part * K + k) * chunk_columns + j] = from[j * K + k];
    }
  }
}

constexpr int64_t product_tokens = 64;

// Adds dP' [K, columns] of the columns of one stream from d on, a block of tokens after the other.
template <int S, class T, class A = typename Lanes<T>::Scalar>
void sum_projection(const Plan<S, A>& plan, const T* X, const A* g, int64_t s, int64_t d, int64_t columns,
                    const ZeroedArray<A>& kept, const ZeroedArray<A>& part, const ZeroedArray<A>& total) {
  const int64_t K = plan.each, row = plan.norms * plan.padded, whole = whole_vectors<A>(columns);
  for (int64_t first = 0; first < plan.tokens; first += product_tokens) {
    const int64_t n = smaller(product_tokens, plan.tokens - first);
    for (int64_t i = 0; i < n; ++i) {
      const T* const x = X + ((first + i) * S + s) * plan.width + d;
      for_columns<T>(columns, [&](int64_t j, int64_t left) BRAID_LAMBDA {
        store(&kept[i * chunk_columns + j], load(x + j, left), Lanes<T>::count);
      });
    }
    small_product<false, A>({g + first * row + plan.norm_of(s) * plan.padded, 1, row}, &kept[0], chunk_columns,
                            &part[0], chunk_columns, K, n, whole);
    for (int64_t i = 0; i < K * chunk_columns; ++i) total[i] += part[i];
  }
}

template <int S, class T, class A = typename Lanes<T>::Scalar>
void projection_gradient(const Plan<S, A>& plan, const T* X, const A* g, A* dP) {
  const int64_t D = plan.width, K = plan.each, blocks = plan.blocks();
#pragma omp parallel
  {
    const ZeroedArray<A> kept(product_tokens * chunk_columns), part(K * chunk_columns), total(K * chunk_columns);
#pragma omp for schedule(static)
    for (int64_t i = 0; i < plan.chunks * blocks; ++i) {
      const int64_t block = i % blocks, chunk = i / blocks, d = chunk * chunk_columns, columns = plan.columns_of(chunk);
      for (int64_t j = 0; j < K * chunk_columns; ++j) total[j] = 0;
      for (int64_t s = block; s < S; s += blocks) sum_projection<S, T>(plan, X, g, s, d, columns, kept, part, total);
      for (int64_t j = 0; j < columns; ++j) {
        for (int64_t k = 0; k < K; ++k) dP[(block * D + d + j) * K + k] += total[k * chunk_columns + j];
      }
    }
  }
}

// Tiles in order.
template <int S, class A>
void add_scale_and_bias(const Plan<S, A>& plan, const ZeroedArray<double>& totals, A* dscale, A* dbias) {
  const int64_t row = 3 + plan.logits;  // HC leaves the third scale out
  for (int64_t j = 0; j < row; ++j) {
    if (j < 3 && j >= plan.scales()) continue;
    double sum = 0;
    for (int64_t i = 0; i < plan.tiles(); ++i) sum += totals[i * row + j];
    A& into = j < 3 ? dscale[j] : dbias[j - 3];
    into += A(sum);
  }
}

template <int S, class T, class A = typename Lanes<T>::Scalar>
void backward_all(const ConnectionShape& shape, const ConnectionWeights& weights, const BackwardArrays<T>& arrays,
                  const ConnectionInputGradients& out) {
  const Plan<S, A> plan(shape);
  const ZeroedArray<A> P(plan.chunks * plan.blocks() * plan.each * chunk_columns);
  const ZeroedArray<A> g(plan.tokens * plan.norms * plan.padded);
  const ZeroedArray<double> totals(plan.tiles() * (3 + plan.logits));
  pack_chunks(plan, static_cast<const A*>(weights.projection), P);
#pragma omp parallel
  {
    BackwardSpace<S, A> space(plan);
#pragma omp for schedule(static)
    for (int64_t i = 0; i < plan.tiles(); ++i) {
      const int64_t first = i * plan.tile, n = smaller(plan.tile, plan.tokens - first);
      backward_tile<S, T>(plan, weights, arrays, &P[0], first, n, &g[first * plan.norms * plan.padded],
                          &totals[i * (3 + plan.logits)], space);
    }
  }
  if (!out.projection) return;
  projection_gradient<S, T>(plan, arrays.X_out, &g[0], static_cast<A*>(out.projection));
  add_scale_and_bias(plan, totals, static_cast<A*>(out.scale), static_cast<A*>(out.bias));
}
