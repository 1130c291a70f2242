// SPDX-License-Identifier: Apache-2.0
// Included once per instruction set with BRAID_LEVEL defined.
#include <immintrin.h>
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

BRAID_INLINE float sum_of(FloatLanes v) {
#pragma GCC unroll 4
  for (int64_t distance = lanes / 2; distance > 0; distance /= 2) {
    WordLanes from;
    for (int64_t i = 0; i < lanes; ++i) from[i] = uint32_t(i ^ distance);
    v += __builtin_shuffle(v, from);
  }
  return v[0];
}

// --- Few tokens: codes become numbers in registers. A byte's halves are even and odd columns, so x is laid out in groups
// of two vectors, first the even and then the odd ones. ---

constexpr int64_t few_tokens = 8, group = 2 * lanes;

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

// R rows from `row` on times N tokens. Rows are whole numbers of blocks. sums[r][n] go to put(r, n, sum).
template <int R, int N, class Put>
BRAID_INLINE void few_rows(const Nf4Matrix& w, int64_t row, const float* x, const Put& put) {
  FloatLanes sums[R][N] = {};
  for (int64_t column = 0; column < w.columns; column += nf4_block) {
    float scale[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) scale[r] = block_absmax(w.scales, ((row + r) * w.columns + column) / nf4_block);
#pragma GCC unroll 8
    for (int64_t g = column; g < column + nf4_block; g += group) {
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const WordLanes words = words_of(w.packed + ((row + r) * w.columns + g) / 2);
        const FloatLanes even = numbers_of(words >> 4) * scale[r], odd = numbers_of(words) * scale[r];
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) {
          const float* mine = x + n * w.columns + g;
          sums[r][n] += even * load(mine, lanes);
          sums[r][n] += odd * load(mine + lanes, lanes);
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) put(r, n, sum_of(sums[r][n]));
  }
}

// About eight chains of sums hide the latency of one.
template <int N, class T>
void few_of(const Nf4Matrix& w, const float* x, T* y) {
  constexpr int R = N == 1 ? 8 : N == 2 ? 4 : N <= 4 ? 2 : 1;
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < w.rows; row += R) {
    const auto put = [&](int64_t r, int64_t n, float sum) BRAID_LAMBDA {
      store(y + n * w.rows + row + r, FloatLanes{} + sum, 1);
    };
    if (row + R <= w.rows) {
      few_rows<R, N>(w, row, x, put);
    } else {
      for (int64_t rest = row; rest < w.rows; ++rest) {
        few_rows<1, N>(w, rest, x, [&](int64_t, int64_t n, float sum) BRAID_LAMBDA { put(rest - row, n, sum); });
      }
    }
  }
}

template <class T>
void few(const Nf4Matrix& w, int64_t tokens, const T* x, T* y) {
  const ZeroedArray<float> separated(tokens * w.columns);
  separate(x, tokens * w.columns, &separated[0]);
  switch (tokens) {
    case 1: return few_of<1>(w, &separated[0], y);
    case 2: return few_of<2>(w, &separated[0], y);
    case 3: return few_of<3>(w, &separated[0], y);
    case 4: return few_of<4>(w, &separated[0], y);
    case 5: return few_of<5>(w, &separated[0], y);
    case 6: return few_of<6>(w, &separated[0], y);
    case 7: return few_of<7>(w, &separated[0], y);
    default: return few_of<8>(w, &separated[0], y);
  }
}

// --- More tokens, or rows that are no whole number of blocks: panels of W are decoded into the cache. ---

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
  if (tokens <= few_tokens && w.columns % nf4_block == 0) few(w, tokens, x, y);
  else forward_of(w, tokens, x, y);
}

void forward(const Nf4Matrix& w, int64_t tokens, Element element, const void* x, void* y) {
  if (element == Element::bfloat16) return forward_as<Bf16>(w, tokens, x, y);
  forward_as<float>(w, tokens, x, y);
}

void transposed(const Nf4Matrix& w, int64_t tokens, Element element, const void* dy_any, void* dx) {
  if (element == Element::bfloat16) {
    return transposed_of(w, tokens, static_cast<const Bf16*>(dy_any), static_cast<Bf16*>(dx));
  }
  transposed_of(w, tokens, static_cast<const float*>(dy_any), static_cast<float*>(dx));
}

}  // namespace

const Nf4ProductKernels nf4_product = {forward, transposed};

}  // namespace braid::kernels::BRAID_LEVEL
