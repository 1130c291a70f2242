// SPDX-License-Identifier: Apache-2.0
// Included once per instruction set with BRAID_LEVEL defined.
#include <immintrin.h>
#include <omp.h>
#include <stddef.h>
#include <stdint.h>

#include <new>

#include "kernels/nf4_product_cpu.h"

namespace braid::kernels::BRAID_LEVEL {
namespace {

#include "kernels/cpu_lanes.inl"
#include "kernels/cpu_nf4.inl"
#include "kernels/cpu_product.inl"

int64_t whole_vectors(int64_t count) { return (count + lanes - 1) / lanes * lanes; }

// --- Few tokens: codes become numbers in registers. A byte's halves are even and odd columns, so x is laid out in groups
// of two vectors, first the even and then the odd ones. ---

constexpr int64_t group = 2 * lanes;

// x [tokens, columns] in that order, in float32; columns is a whole number of groups.
template <class T>
void separate(const T* x, int64_t count, float* out) {
  for (int64_t g = 0; g < count; g += group) {
    float neighbours[group];
    store(neighbours, load(x + g, lanes), lanes);
    store(neighbours + lanes, load(x + g + lanes, lanes), lanes);
    for (int64_t i = 0; i < lanes; ++i) {
      out[g + i] = neighbours[2 * i];
      out[g + lanes + i] = neighbours[2 * i + 1];
    }
  }
}

// As many rows at a time as registers allow, so that x is loaded once for all.
constexpr int rows_at_once(int tokens) {
#if defined(__AVX512F__)
  return tokens <= 2 ? 4 : tokens <= 6 ? 2 : 1;
#else
  return tokens <= 2 ? 2 : 1;
#endif
}

// R rows, whole numbers of blocks, times N tokens: their codes [R, columns / 2] and absmax [R, columns / nf4_block].
// A block's sums are multiplied by its absmax, not its numbers: for very few tokens that is cheaper, and for more of them
// it is done so as well, so that a token's sum has the same bits whatever other tokens are beside it. Rows are too short
// for the processor to see where reading goes on: it is told of the next ones, a cache line every other block.
template <int R, int N>
BRAID_INLINE void few_rows(const uint8_t* packed, const float* absmax, int64_t columns, const float* x,
                           FloatLanes (&sums)[R][N]) {
  constexpr int groups = int(nf4_block / group);
  const int64_t blocks = columns / nf4_block, row_bytes = columns / 2;
  for (int64_t block = 0; block < blocks; ++block) {
    FloatLanes partial[R][N] = {};
    float scale[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      scale[r] = absmax[r * blocks + block];
      if (block % 2 == 0) __builtin_prefetch(packed + (R + r) * row_bytes);
    }
#pragma GCC unroll 8
    for (int g = 0; g < groups; ++g) {
      FloatLanes even[R], odd[R];
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const WordLanes words = words_of(packed + r * row_bytes + g * lanes);
        even[r] = numbers_of(words >> 4);
        odd[r] = numbers_of(words);
      }
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) {
        const float* const its = x + n * columns + g * group;
        const FloatLanes x_even = load(its, lanes), x_odd = load(its + lanes, lanes);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
          partial[r][n] += even[r] * x_even;
          partial[r][n] += odd[r] * x_odd;
        }
      }
    }
    packed += nf4_block / 2;
    x += nf4_block;
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) sums[r][n] += partial[r][n] * scale[r];
    }
  }
}

template <int R, int N, class T>
BRAID_INLINE void few_rows_of(const Nf4Matrix& w, int64_t row, const float* x, float* scratch, T* y, int64_t stride) {
  const int64_t blocks = w.columns / nf4_block, first = row * blocks;
  const float* absmax = w.scales.absmax + first;
  if (w.scales.codes) {
    block_absmaxes(w.scales, first, R * blocks, scratch);
    absmax = scratch;
  }
  FloatLanes sums[R][N] = {};
  few_rows<R, N>(w.packed + row * w.columns / 2, absmax, w.columns, x, sums);
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) store(y + n * stride + row + r, FloatLanes{} + sum_of(sums[r][n]), 1);
  }
}

// Rows first to end - 1.
template <int N, class T>
void few_between(const Nf4Matrix& w, const float* x, T* y, int64_t stride, int64_t first, int64_t end) {
  constexpr int R = rows_at_once(N);
  const ZeroedArray<float> scratch(R * (w.columns / nf4_block));
  int64_t row = first;
  for (; row + R <= end; row += R) few_rows_of<R, N>(w, row, x, &scratch[0], y, stride);
  for (; row < end; ++row) few_rows_of<1, N>(w, row, x, &scratch[0], y, stride);
}

template <int N, class T>
void few_of(const Nf4Matrix& w, const float* x, T* y) {
#pragma omp parallel
  {
    const Share share = own_share(w.rows);
    few_between<N>(w, x, y, w.rows, share.first, share.end);
  }
}

template <class T>
void few_part(const Nf4Matrix& w, int64_t tokens, const T* x, T* y, int64_t stride, int64_t first, int64_t end) {
  const ZeroedArray<float> separated(tokens * w.columns);
  separate(x, tokens * w.columns, &separated[0]);
  for (int64_t n = 0; n < tokens; n += few_tokens) {
    with_tokens(smaller(few_tokens, tokens - n), [&](auto count) BRAID_LAMBDA {
      few_between<count.value>(w, &separated[n * w.columns], y + n * stride, stride, first, end);
    });
  }
}

template <class T>
void few(const Nf4Matrix& w, int64_t tokens, const T* x, T* y) {
  const ZeroedArray<float> separated(tokens * w.columns);
  separate(x, tokens * w.columns, &separated[0]);
  with_tokens(tokens, [&](auto count) BRAID_LAMBDA { few_of<count.value>(w, &separated[0], y); });
}

// --- Rows that are no whole number of blocks, and the transposed product: panels of W are decoded into the cache. ---

constexpr int64_t panel_rows = 16, panel_columns = 512;

// The panel [rows, columns] of W from (row, column) on, its rows panel_columns apart.
void decode_panel(const Nf4Matrix& w, int64_t row, int64_t rows, int64_t column, int64_t columns, float* panel) {
  for (int64_t r = 0; r < rows; ++r) {
    decode_run(w, (row + r) * w.columns + column, columns, panel + r * panel_columns);
  }
}

// float32 of x [rows, columns], its rows `stride` apart, which is at least whole_vectors(columns).
template <class T>
void widen(const T* x, int64_t rows, int64_t columns, float* out, int64_t stride) {
#pragma omp parallel for schedule(static)
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; c += lanes) {
      store(out + r * stride + c, load(x + r * columns + c, columns - c), lanes);
    }
  }
}

// y^T of a panel's rows at a time: W's numbers are the scalars, x^T [columns, tokens] the vectors.
template <class T>
void forward_of(const Nf4Matrix& w, int64_t tokens, const T* x, T* y) {
  const int64_t columns = whole_vectors(w.columns), width = whole_vectors(tokens);
  const ZeroedArray<float> wide(tokens * columns), turned(columns * width);
  widen(x, tokens, w.columns, &wide[0], columns);
  transpose<float>(&wide[0], columns, tokens, columns, &turned[0], width);
#pragma omp parallel
  {
    const ZeroedArray<float> panel(panel_rows * panel_columns), sums(panel_rows * width);
#pragma omp for schedule(static)
    for (int64_t row = 0; row < w.rows; row += panel_rows) {
      const int64_t rows = smaller(panel_rows, w.rows - row);
      __builtin_memset(static_cast<void*>(&sums[0]), 0, size_t(rows * width) * sizeof(float));
      for (int64_t column = 0; column < w.columns; column += panel_columns) {
        const int64_t inner = smaller(panel_columns, w.columns - column);
        decode_panel(w, row, rows, column, inner, &panel[0]);
        small_product<true, float>({&panel[0], panel_columns, 1}, &turned[column * width], width, &sums[0], width, rows,
                                   inner, width);
      }
      for (int64_t n = 0; n < tokens; ++n) {
        for (int64_t r = 0; r < rows; ++r) store(y + n * w.rows + row + r, FloatLanes{} + sums[r * width + n], 1);
      }
    }
  }
}

// A thread owns a run of columns and goes through all rows.
template <class T>
void transposed_of(const Nf4Matrix& w, int64_t tokens, const T* dy, T* dx) {
  const int64_t stride = whole_vectors(w.rows);
  const ZeroedArray<float> wide(tokens * stride);
  widen(dy, tokens, w.rows, &wide[0], stride);
#pragma omp parallel
  {
    const ZeroedArray<float> panel(panel_rows * panel_columns), sums(tokens * panel_columns);
#pragma omp for schedule(static)
    for (int64_t column = 0; column < w.columns; column += panel_columns) {
      const int64_t columns = smaller(panel_columns, w.columns - column);
      __builtin_memset(static_cast<void*>(&sums[0]), 0, size_t(tokens * panel_columns) * sizeof(float));
      for (int64_t row = 0; row < w.rows; row += panel_rows) {
        const int64_t inner = smaller(panel_rows, w.rows - row);
        decode_panel(w, row, inner, column, columns, &panel[0]);
        small_product<true, float>({&wide[row], stride, 1}, &panel[0], panel_columns, &sums[0], panel_columns, tokens,
                                   inner, whole_vectors(columns));
      }
      for (int64_t n = 0; n < tokens; ++n) {
        for_columns<T>(columns, [&](int64_t c, int64_t count) BRAID_LAMBDA {
          store(dx + n * w.columns + column + c, load(&sums[n * panel_columns + c], lanes), count);
        });
      }
    }
  }
}

template <class T>
void forward_as(const Nf4Matrix& w, int64_t tokens, const void* x_any, void* y_any) {
  const T* const x = static_cast<const T*>(x_any);
  T* const y = static_cast<T*>(y_any);
  if (w.columns % nf4_block != 0) return forward_of(w, tokens, x, y);
  for (int64_t n = 0; n < tokens; n += few_tokens) {
    few(w, smaller(few_tokens, tokens - n), x + n * w.columns, y + n * w.rows);
  }
}

void forward(const Nf4Matrix& w, int64_t tokens, Element element, const void* x, void* y) {
  if (element == Element::bfloat16) return forward_as<Bf16>(w, tokens, x, y);
  forward_as<float>(w, tokens, x, y);
}

void part(const Nf4Matrix& w, int64_t tokens, Element element, const void* x, void* y, int64_t stride, int64_t first,
          int64_t end) {
  if (element == Element::bfloat16) {
    return few_part(w, tokens, static_cast<const Bf16*>(x), static_cast<Bf16*>(y), stride, first, end);
  }
  few_part(w, tokens, static_cast<const float*>(x), static_cast<float*>(y), stride, first, end);
}

void transposed(const Nf4Matrix& w, int64_t tokens, Element element, const void* dy_any, void* dx) {
  if (element == Element::bfloat16) {
    return transposed_of(w, tokens, static_cast<const Bf16*>(dy_any), static_cast<Bf16*>(dx));
  }
  transposed_of(w, tokens, static_cast<const float*>(dy_any), static_cast<float*>(dx));
}

}  // namespace

const Nf4ProductKernels nf4_product = {forward, part, transposed};

}  // namespace braid::kernels::BRAID_LEVEL
