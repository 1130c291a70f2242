// SPDX-License-Identifier: Apache-2.0
// What products of a few tokens do with row_sums, whatever instructions it is made of. Included after cpu_few_tokens.inl,
// row_sums, tokens_at_once and rows_at_once.

// y [tokens, outputs] of all tokens and R rows from `row` on, which then are read from memory but once.
template <int R, class X, class T>
BRAID_INLINE void rows_of(const SkinnyShape& shape, int64_t row, const X* x, const T* weight, const T* bias, T* y) {
  for (int64_t first = 0; first < shape.tokens; first += tokens_at_once) {
    with_tokens(smaller(tokens_at_once, shape.tokens - first), [&](auto count) BRAID_LAMBDA {
      float sums[R][count.value];
      row_sums(weight + row * shape.inputs, x + first * shape.inputs, shape.inputs, sums);
      for (int r = 0; r < R; ++r) {
        const float shift = bias ? load(bias + row + r, 1)[0] : 0;
        for (int n = 0; n < count.value; ++n) {
          store(y + (first + n) * shape.outputs + row + r, FloatLanes{} + (sums[r][n] + shift), 1);
        }
      }
    });
  }
}

template <int R, class X, class T>
void rows_between(const SkinnyShape& shape, Share share, const X* x, const T* weight, const T* bias, T* y) {
  int64_t row = share.first;
  for (; row + R <= share.end; row += R) rows_of<R>(shape, row, x, weight, bias, y);
  for (; row < share.end; ++row) rows_of<1>(shape, row, x, weight, bias, y);
}

// One token's rows are one stream of memory. For more tokens several rows share each x.
template <class X, class T>
void product_part(const SkinnyShape& shape, Share share, const X* x, const T* weight, const T* bias, T* y) {
  if (shape.tokens <= 2) return rows_between<1>(shape, share, x, weight, bias, y);
  rows_between<rows_at_once>(shape, share, x, weight, bias, y);
}

template <class X, class T>
void product(const SkinnyShape& shape, const X* x, const T* weight, const T* bias, T* y) {
#pragma omp parallel
  product_part(shape, own_share(shape.outputs), x, weight, bias, y);
}
