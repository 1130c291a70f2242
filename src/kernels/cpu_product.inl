// SPDX-License-Identifier: Apache-2.0
// Small matrix products in cache, in the type that elements are computed in, and the transposition they need. Included
// after cpu_lanes.inl. Rows of B and C are padded to whole vectors.

#if defined(__AVX512F__)
constexpr int64_t most_vectors = 4;  // of a row of C held in registers: 4 x 4 accumulators of 32 registers
#else
constexpr int64_t most_vectors = 2;
#endif

// A(i, k) = data[i * row + k * column]: a matrix or its transpose.
template <class S>
struct LeftOperand {
  const S* data;
  int64_t row, column;
};

// R rows and W vectors of C [m, n] (+)= A B.
template <bool add, int R, int W, class T, class S = typename Lanes<T>::Scalar>
BRAID_INLINE void product_tile(LeftOperand<S> a, const S* b, int64_t b_row, S* c, int64_t c_row, int64_t inner) {
  using V = typename Lanes<T>::Vector;
  constexpr int64_t count = Lanes<T>::count;
  V sums[R][W];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int w = 0; w < W; ++w) sums[r][w] = add ? load(c + r * c_row + w * count, count) : V{};
  }
  for (int64_t k = 0; k < inner; ++k) {
    V right[W];
#pragma GCC unroll 4
    for (int w = 0; w < W; ++w) right[w] = load(b + k * b_row + w * count, count);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const S left = a.data[r * a.row + k * a.column];
#pragma GCC unroll 4
      for (int w = 0; w < W; ++w) sums[r][w] += left * right[w];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int w = 0; w < W; ++w) store(c + r * c_row + w * count, sums[r][w], count);
  }
}

template <bool add, int W, class T, class S = typename Lanes<T>::Scalar>
BRAID_INLINE void product_columns(LeftOperand<S> a, const S* b, int64_t b_row, S* c, int64_t c_row, int64_t rows,
                                  int64_t inner) {
  constexpr int tall = W == most_vectors ? 4 : 8;
  int64_t i = 0;
  for (; i + tall <= rows; i += tall) {
    product_tile<add, tall, W, T>({a.data + i * a.row, a.row, a.column}, b, b_row, c + i * c_row, c_row, inner);
  }
  for (; i < rows; ++i) {
    product_tile<add, 1, W, T>({a.data + i * a.row, a.row, a.column}, b, b_row, c + i * c_row, c_row, inner);
  }
}

// C [rows, columns] = A B, or += with `add`; `columns` is a whole number of vectors, B [inner, columns].
template <bool add, class T, class S = typename Lanes<T>::Scalar>
void small_product(LeftOperand<S> a, const S* b, int64_t b_row, S* c, int64_t c_row, int64_t rows, int64_t inner,
                   int64_t columns) {
  constexpr int64_t count = Lanes<T>::count;
  int64_t j = 0;
  for (; j + most_vectors * count <= columns; j += most_vectors * count) {
    product_columns<add, most_vectors, T>(a, b + j, b_row, c + j, c_row, rows, inner);
  }
  for (; j + 2 * count <= columns; j += 2 * count) {
    product_columns<add, 2, T>(a, b + j, b_row, c + j, c_row, rows, inner);
  }
  for (; j < columns; j += count) product_columns<add, 1, T>(a, b + j, b_row, c + j, c_row, rows, inner);
}

template <class V>
struct IndicesOf;  // what __builtin_shuffle picks lanes of a V by
template <>
struct IndicesOf<FloatLanes> {
  using Type = WordLanes;
};
template <>
struct IndicesOf<DoubleLanes> {
  using Type = LongLanes;
};

// A square of as many rows as there are lanes, by swapping ever larger blocks off the diagonal.
template <class V>
BRAID_INLINE void transpose_square(V* rows) {
  constexpr int count = int(sizeof(V) / sizeof(rows[0][0]));
#pragma GCC unroll 4
  for (int block = 1; block < count; block *= 2) {
    typename IndicesOf<V>::Type upper = {}, lower = {};
#pragma GCC unroll 16
    for (int lane = 0; lane < count; ++lane) {
      upper[lane] = (lane & block) ? count + lane - block : lane;
      lower[lane] = (lane & block) ? count + lane : lane + block;
    }
#pragma GCC unroll 16
    for (int i = 0; i < count; ++i) {
      if (i & block) continue;
      const V first = rows[i], second = rows[i + block];
      rows[i] = __builtin_shuffle(first, second, upper);
      rows[i + block] = __builtin_shuffle(first, second, lower);
    }
  }
}

// out [width, out_row] = the transpose of in [rows, width] (row stride in_row); columns past `rows` up to a whole
// vector become zero.
template <class T, class S = typename Lanes<T>::Scalar>
void transpose(const S* in, int64_t in_row, int64_t rows, int64_t width, S* out, int64_t out_row) {
  using V = typename Lanes<T>::Vector;
  constexpr int64_t count = Lanes<T>::count;
  for (int64_t t = 0; t < rows; t += count) {
    for (int64_t c = 0; c < width; c += count) {
      V square[count];
      for (int64_t i = 0; i < count; ++i) square[i] = t + i < rows ? load(in + (t + i) * in_row + c, count) : V{};
      transpose_square(square);
      for (int64_t i = 0; i < count && c + i < width; ++i) store(out + (c + i) * out_row + t, square[i], count);
    }
  }
}
