// SPDX-License-Identifier: Apache-2.0
// Included once per instruction set with BRAID_LEVEL defined. A row stays in the first cache between its passes. The
// gradients of weight and bias are summed per block of rows and the blocks added in order.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include <new>

#include "kernels/add_norm_cpu.h"

namespace braid::kernels::BRAID_LEVEL {
namespace {

#include "kernels/cpu_lanes.inl"

// In what follows T is the stored type of f and y, S the type of the residual stream.

template <class T, class S = typename Lanes<T>::Scalar>
struct ForwardArrays {
  const S* x;
  const T* f;
  const S *weight, *bias;
  S* u;
  T* y;
  S *mean, *rstd;
};

// u of one row, and its sum.
template <class T, class S = typename Lanes<T>::Scalar>
BRAID_INLINE S join(const ForwardArrays<T>& a, int64_t at, int64_t width) {
  typename Lanes<T>::Vector sum = {};
  for_columns<T>(width, [&](int64_t d, int64_t n) BRAID_LAMBDA {
    auto u = load(a.x + at + d, n);
    if (a.f) {
      u += load(a.f + at + d, n);
      store(a.u + at + d, u, n);
    }
    sum += u;
  });
  return sum_lanes(sum);
}

// Sum of squares of u - mean.
template <class T, class S = typename Lanes<T>::Scalar>
BRAID_INLINE S squares(const S* u, int64_t width, S mean) {
  typename Lanes<T>::Vector sum = {};
  for_columns<T>(width, [&](int64_t d, int64_t n) BRAID_LAMBDA {
    const auto apart = load(u + d, n, mean) - mean;
    sum += apart * apart;
  });
  return sum_lanes(sum);
}

template <class T, class S = typename Lanes<T>::Scalar>
BRAID_INLINE void forward_row(const NormShape& shape, const ForwardArrays<T>& a, int64_t row) {
  const int64_t width = shape.width, at = row * width;
  const S sum = join(a, at, width);
  const S* const u = (a.f ? a.u : a.x) + at;
  const S mean = a.bias ? sum / S(width) : S(0);
  // Where the variance overflows rstd is 0; where the mean's square does too, NaN as of E[u^2] - mean^2.
  const S variance = squares<T>(u, width, mean) / S(width) + (mean * mean - mean * mean);
  const S rstd = S(1) / S(__builtin_sqrt(double(variance) + shape.epsilon));
  for_columns<T>(width, [&](int64_t d, int64_t n) BRAID_LAMBDA {
    auto y = (load(u + d, n) - mean) * rstd * load(a.weight + d, n);
    if (a.bias) y += load(a.bias + d, n);
    store(a.y + at + d, y, n);
  });
  if (a.bias) a.mean[row] = mean;
  a.rstd[row] = rstd;
}

// By all threads, or the calling one alone.
template <class T>
void forward_rows(const NormShape& shape, const ForwardArrays<T>& a, bool alone) {
#pragma omp parallel for schedule(static) if (!alone && shape.rows > 1)
  for (int64_t row = 0; row < shape.rows; ++row) forward_row(shape, a, row);
}

template <class T, class S = typename Lanes<T>::Scalar>
struct BackwardArrays {
  const S *u, *weight, *mean, *rstd;
  const T* dy;
  const S* du;
  S* dx;
  T* df;
  S *dweight, *dbias;
};

// With n = (u - mean) rstd and g = dy weight: dx = du + rstd (g - mean(g) - n mean(g n)), without mean(g) for RMS norm.
// Adds dy n and dy to the sums of this block.
template <class T, class S = typename Lanes<T>::Scalar>
BRAID_INLINE void backward_row(const NormShape& shape, const BackwardArrays<T>& a, int64_t row, S* dweight, S* dbias) {
  using V = typename Lanes<T>::Vector;
  const int64_t width = shape.width, at = row * width;
  const S mean = a.mean ? a.mean[row] : S(0), rstd = a.rstd[row];
  V sum_g = {}, sum_gn = {};
  for_columns<T>(width, [&](int64_t d, int64_t n) BRAID_LAMBDA {
    const V dy = load(a.dy + at + d, n), normal = (load(a.u + at + d, n) - mean) * rstd;
    const V g = dy * load(a.weight + d, n);
    sum_g += g;
    sum_gn += g * normal;
    store(dweight + d, load(dweight + d, n) + dy * normal, n);
    store(dbias + d, load(dbias + d, n) + dy, n);
  });
  const S mean_g = a.mean ? sum_lanes(sum_g) / S(width) : S(0), mean_gn = sum_lanes(sum_gn) / S(width);
  for_columns<T>(width, [&](int64_t d, int64_t n) BRAID_LAMBDA {
    const V normal = (load(a.u + at + d, n) - mean) * rstd;
    V dx = (load(a.dy + at + d, n) * load(a.weight + d, n) - mean_g - normal * mean_gn) * rstd;
    if (a.du) dx += load(a.du + at + d, n);
    store(a.dx + at + d, dx, n);
    if (a.df) store(a.df + at + d, dx, n);
  });
}

template <class T, class S = typename Lanes<T>::Scalar>
void add_up(const S* partial, int64_t blocks, int64_t stride, int64_t width, S* total) {
  if (!total) return;
  for (int64_t block = 0; block < blocks; ++block) {
    for_columns<T>(width, [&](int64_t d, int64_t n) BRAID_LAMBDA {
      store(total + d, load(total + d, n) + load(partial + block * stride + d, n), n);
    });
  }
}

template <class T, class S = typename Lanes<T>::Scalar>
void backward_rows(const NormShape& shape, const BackwardArrays<T>& a) {
  const int64_t share = rows_of_block(shape.rows), blocks = (shape.rows + share - 1) / share, width = shape.width;
  const ZeroedArray<S> partial(blocks * 2 * width);
#pragma omp parallel for schedule(static)
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t end = (block + 1) * share < shape.rows ? (block + 1) * share : shape.rows;
    S* const sums = &partial[block * 2 * width];
    for (int64_t row = block * share; row < end; ++row) backward_row(shape, a, row, sums, sums + width);
  }
  add_up<T>(&partial[0], blocks, 2 * width, width, a.dweight);
  add_up<T>(&partial[0] + width, blocks, 2 * width, width, a.dbias);
}

template <class T, class S = typename Lanes<T>::Scalar>
void forward_of(const NormShape& shape, const void* x, const void* f, const void* weight, const void* bias, void* u,
                void* y, void* mean, void* rstd, bool alone) {
  forward_rows<T>(shape, {static_cast<const S*>(x), static_cast<const T*>(f), static_cast<const S*>(weight),
                          static_cast<const S*>(bias), static_cast<S*>(u), static_cast<T*>(y), static_cast<S*>(mean),
                          static_cast<S*>(rstd)}, alone);
}

template <class T, class S = typename Lanes<T>::Scalar>
void backward_of(const NormShape& shape, const void* u, const void* weight, const void* mean, const void* rstd,
                 const void* dy, const void* du, void* dx, void* df, void* dweight, void* dbias) {
  backward_rows<T>(shape, {static_cast<const S*>(u), static_cast<const S*>(weight), static_cast<const S*>(mean),
                           static_cast<const S*>(rstd), static_cast<const T*>(dy), static_cast<const S*>(du),
                           static_cast<S*>(dx), static_cast<T*>(df), static_cast<S*>(dweight), static_cast<S*>(dbias)});
}

void forward_any(NormShape shape, Element element, const void* x, const void* f, const void* weight, const void* bias,
                 void* u, void* y, void* mean, void* rstd, bool alone) {
  switch (element) {
    case Element::float32: return forward_of<float>(shape, x, f, weight, bias, u, y, mean, rstd, alone);
    case Element::bfloat16: return forward_of<Bf16>(shape, x, f, weight, bias, u, y, mean, rstd, alone);
    case Element::float64: return forward_of<double>(shape, x, f, weight, bias, u, y, mean, rstd, alone);
  }
}

void forward(NormShape shape, Element element, const void* x, const void* f, const void* weight, const void* bias,
             void* u, void* y, void* mean, void* rstd) {
  forward_any(shape, element, x, f, weight, bias, u, y, mean, rstd, false);
}

void forward_alone(NormShape shape, Element element, const void* x, const void* f, const void* weight, const void* bias,
                   void* u, void* y, void* mean, void* rstd) {
  forward_any(shape, element, x, f, weight, bias, u, y, mean, rstd, true);
}

void backward(NormShape shape, Element element, const void* u, const void* weight, const void* mean, const void* rstd,
              const void* dy, const void* du, void* dx, void* df, void* dweight, void* dbias) {
  switch (element) {
    case Element::float32: return backward_of<float>(shape, u, weight, mean, rstd, dy, du, dx, df, dweight, dbias);
    case Element::bfloat16: return backward_of<Bf16>(shape, u, weight, mean, rstd, dy, du, dx, df, dweight, dbias);
    case Element::float64: return backward_of<double>(shape, u, weight, mean, rstd, dy, du, dx, df, dweight, dbias);
  }
}

}  // namespace

const AddNormKernels add_norm = {forward, forward_alone, backward};

}  // namespace braid::kernels::BRAID_LEVEL
