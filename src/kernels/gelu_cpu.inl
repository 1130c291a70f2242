// SPDX-License-Identifier: Apache-2.0
// Included once per instruction set with BRAID_LEVEL defined.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include <new>

#include "kernels/gelu_cpu.h"

namespace braid::kernels::BRAID_LEVEL {
namespace {

#include "kernels/cpu_lanes.inl"
#include "kernels/cpu_exponential.inl"

template <class V>
struct Normal {
  V distribution, density_times_x;
};

constexpr float inverse_sqrt_2 = 0.70710678118654752f, inverse_sqrt_2pi = 0.39894228040143268f;

// With z = |x| / sqrt(2): P(-|x|) = e^(-z^2) erfcx(z) / 2, and erfcx(z) is a polynomial of degree 9 in (z - 2.5) /
// (z + 2.5) for z <= 10, found by Lawson's iteration (relative error 3e-8). Beyond, e^(-z^2) is 0 in float32. So small P
// have small errors, and near 1 it is good to 2 ulp.
BRAID_INLINE Normal<FloatLanes> normal(FloatLanes x) {
  const FloatLanes magnitude = x < 0 ? -x : x;
  const FloatLanes scaled = magnitude * inverse_sqrt_2, z = scaled > 10.0f ? FloatLanes{} + 10.0f : scaled;
  const FloatLanes bell = exponential(-0.5f * x * x), u = (z - 2.5f) / (z + 2.5f);
  FloatLanes q = u * -5.60460926e-5f + 2.12430043e-4f;
  q = q * u + 8.15785114e-4f;
  q = q * u - 2.64142722e-3f;
  q = q * u - 3.97440819e-3f;
  q = q * u + 3.99226106e-2f;
  q = q * u - 1.25035492e-1f;
  q = q * u + 2.51713242e-1f;
  q = q * u - 3.71736651e-1f;
  q = q * u + 2.10806362e-1f;
  const FloatLanes tail = 0.5f * bell * q;
  return {x < 0 ? tail : 1.0f - tail, x * bell * inverse_sqrt_2pi};
}

// float64 is the reference in tests: no hurry.
BRAID_INLINE Normal<DoubleLanes> normal(DoubleLanes x) {
  Normal<DoubleLanes> result;
  for (int64_t i = 0; i < Lanes<double>::count; ++i) {
    result.distribution[i] = 0.5 * __builtin_erfc(-x[i] * 0.70710678118654752440);
    result.density_times_x[i] = x[i] * __builtin_exp(-0.5 * x[i] * x[i]) * 0.39894228040143267794;
  }
  return result;
}

// body(first, count) for pieces that a thread works on at a time.
constexpr int64_t piece = 4096;

template <class Body>
BRAID_INLINE void for_pieces(int64_t count, const Body& body) {
#pragma omp parallel for schedule(static)
  for (int64_t first = 0; first < count; first += piece) body(first, count - first < piece ? count - first : piece);
}

template <class T>
void forward_of(int64_t count, const T* x, T* y, T* slope) {
  for_pieces(count, [&](int64_t first, int64_t size) BRAID_LAMBDA {
    for_columns<T>(size, [&](int64_t i, int64_t n) BRAID_LAMBDA {
      const auto v = load(x + first + i, n);
      const auto p = normal(v);
      store(y + first + i, v * p.distribution, n);
      if (slope) store(slope + first + i, p.distribution + p.density_times_x, n);
    });
  });
}

template <class T>
void backward_of(int64_t count, const T* dy, const T* slope, T* dx) {
  for_pieces(count, [&](int64_t first, int64_t size) BRAID_LAMBDA {
    for_columns<T>(size, [&](int64_t i, int64_t n) BRAID_LAMBDA {
      store(dx + first + i, load(dy + first + i, n) * load(slope + first + i, n), n);
    });
  });
}

template <class T>
void forward_as(int64_t count, const void* x, void* y, void* slope) {
  forward_of(count, static_cast<const T*>(x), static_cast<T*>(y), static_cast<T*>(slope));
}

template <class T>
void backward_as(int64_t count, const void* dy, const void* slope, void* dx) {
  backward_of(count, static_cast<const T*>(dy), static_cast<const T*>(slope), static_cast<T*>(dx));
}

void forward(int64_t count, Element element, const void* x, void* y, void* slope) {
  switch (element) {
    case Element::float32: return forward_as<float>(count, x, y, slope);
    case Element::bfloat16: return forward_as<Bf16>(count, x, y, slope);
    case Element::float64: return forward_as<double>(count, x, y, slope);
  }
}

void backward(int64_t count, Element element, const void* dy, const void* slope, void* dx) {
  switch (element) {
    case Element::float32: return backward_as<float>(count, dy, slope, dx);
    case Element::bfloat16: return backward_as<Bf16>(count, dy, slope, dx);
    case Element::float64: return backward_as<double>(count, dy, slope, dx);
  }
}

}  // namespace

const GeluKernels gelu = {forward, backward};

}  // namespace braid::kernels::BRAID_LEVEL
