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
void all_rows(const SkinnyShape& shape, const X* x, const T* weight, const T* bias, T* y) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < shape.outputs; row += R) {
    if (row + R <= shape.outputs) {
      rows_of<R>(shape, row, x, weight, bias, y);
    } else {
      for (int64_t rest = row; rest < shape.outputs; ++rest) rows_of<1>(shape, rest, x, weight, bias, y);
    }
  }
}

// One token's rows are one stream that the processor reads ahead by itself. For more tokens several rows share each x.
template <class X, class T>
void product(const SkinnyShape& shape, const X* x, const T* weight, const T* bias, T* y) {
  if (shape.tokens <= 2) return all_rows<1>(shape, x, weight, bias, y);
  all_rows<rows_at_once>(shape, x, weight, bias, y);
}
