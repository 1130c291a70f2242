// SPDX-License-Identifier: Apache-2.0
// Included once per instruction set with BRAID_LEVEL defined.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include <new>

#include "kernels/sums_cpu.h"

namespace braid::kernels::BRAID_LEVEL {
namespace {

#include "kernels/cpu_lanes.inl"

constexpr int64_t piece = 8192;  // elements that a thread works on at a time

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

template <class T, class S = typename Lanes<T>::Scalar>
void add_to_of(int64_t count, const void* x_any, void* sum_any) {
  const T* const x = static_cast<const T*>(x_any);
  S* const sum = static_cast<S*>(sum_any);
#pragma omp parallel for schedule(static)
  for (int64_t first = 0; first < count; first += piece) {
    for_columns<T>(smaller(piece, count - first), [&](int64_t i, int64_t n) BRAID_LAMBDA {
      store(sum + first + i, load(sum + first + i, n) + load(x + first + i, n), n);
    });
  }
}

template <class T, class S = typename Lanes<T>::Scalar>
void column_sums_of(int64_t rows, int64_t width, const void* x_any, void* sum_any) {
  const T* const x = static_cast<const T*>(x_any);
  S* const sum = static_cast<S*>(sum_any);
  const int64_t share = rows_of_block(rows), blocks = (rows + share - 1) / share;
  const ZeroedArray<S> partial(blocks * width);
  const auto add_row = [&](S* to, const auto* row) BRAID_LAMBDA {
    for_columns<T>(width, [&](int64_t d, int64_t n) BRAID_LAMBDA { store(to + d, load(to + d, n) + load(row + d, n), n); });
  };
#pragma omp parallel for schedule(static)
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t end = smaller((block + 1) * share, rows);
    for (int64_t row = block * share; row < end; ++row) add_row(&partial[block * width], x + row * width);
  }
  for (int64_t block = 0; block < blocks; ++block) add_row(sum, &partial[block * width]);
}

// The vector's squares in float64, of neighbouring lanes together.
BRAID_INLINE DoubleLanes wide_squares(DoubleLanes v) { return v * v; }
BRAID_INLINE DoubleLanes wide_squares(FloatLanes v) {
  typedef float HalfLanes __attribute__((vector_size(sizeof(FloatLanes) / 2)));
  HalfLanes halves[2];  // lane by lane it would go through scalar registers
  __builtin_memcpy(halves, &v, sizeof v);
  const DoubleLanes low = __builtin_convertvector(halves[0], DoubleLanes), high = __builtin_convertvector(halves[1], DoubleLanes);
  return low * low + high * high;
}

template <class T>
double squares_of(int64_t count, const void* x_any) {
  const T* const x = static_cast<const T*>(x_any);
  const int64_t pieces = (count + piece - 1) / piece;
  const ZeroedArray<double> partial(pieces);
#pragma omp parallel for schedule(static)
  for (int64_t p = 0; p < pieces; ++p) {
    DoubleLanes sum = {};
    for_columns<T>(smaller(piece, count - p * piece), [&](int64_t i, int64_t n) BRAID_LAMBDA {
      sum += wide_squares(load(x + p * piece + i, n));
    });
    partial[p] = sum_lanes(sum);
  }
  double total = 0;
  for (int64_t p = 0; p < pieces; ++p) total += partial[p];
  return total;
}

void add_to(int64_t count, Element element, const void* x, void* sum) {
  switch (element) {
    case Element::float32: return add_to_of<float>(count, x, sum);
    case Element::bfloat16: return add_to_of<Bf16>(count, x, sum);
    case Element::float64: return add_to_of<double>(count, x, sum);
  }
}

void add_column_sums(int64_t rows, int64_t width, Element element, const void* x, void* sum) {
  switch (element) {
    case Element::float32: return column_sums_of<float>(rows, width, x, sum);
    case Element::bfloat16: return column_sums_of<Bf16>(rows, width, x, sum);
    case Element::float64: return column_sums_of<double>(rows, width, x, sum);
  }
}

double sum_of_squares(int64_t count, Element element, const void* x) {
  switch (element) {
    case Element::float32: return squares_of<float>(count, x);
    case Element::bfloat16: return squares_of<Bf16>(count, x);
    case Element::float64: return squares_of<double>(count, x);
  }
  return 0;
}

}  // namespace

const SumKernels sums = {add_to, add_column_sums, sum_of_squares};

}  // namespace braid::kernels::BRAID_LEVEL
