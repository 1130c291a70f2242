// SPDX-License-Identifier: Apache-2.0
// Included once per instruction set with BRAID_LEVEL defined. Three passes over a row that stays in cache: largest logit,
// sum of exponentials, gradient. Loss sums are kept per block of rows and added in order: no dependence on threads.
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/cross_entropy_cpu.h"

namespace braid::kernels::BRAID_LEVEL {
namespace {

#include "kernels/cpu_lanes.inl"

constexpr int64_t block_rows = 64;

// exp for x <= 0 or NaN: 2^n by exponent bits, e^r on |r| <= ln2 / 2 by a polynomial of degree 6 (relative error below
// 2e-7, tested against std::exp). Below -87 the result is 0 as far as a softmax can tell.
BRAID_INLINE Float16 exponential(Float16 x) {
  const Float16 low = x * 0 - 87.0f;  // carries NaN
  const Float16 clamped = x < low ? low : x;
  const Float16 magic = clamped * 1.44269504088896341f + 12582912.0f;  // rounds to an integer in the low mantissa bits
  const Float16 n = magic - 12582912.0f;
  const Float16 r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  Float16 p = r * 1.3888889e-3f + 8.3333333e-3f;
  p = p * r + 4.1666667e-2f;
  p = p * r + 1.6666667e-1f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const Int16 exponent = ((Int16)magic - 0x4B400000) << 23;
  return (Float16)((Int16)p + exponent);
}
BRAID_INLINE Lanes<double>::Vector exponential(Lanes<double>::Vector x) {
  for (int i = 0; i < 8; ++i) x[i] = std::exp(x[i]);
  return x;
}

template <class T>
struct Row {
  using A = typename Lanes<T>::Scalar;
  using V = typename Lanes<T>::Vector;
  const T* logits;
  int64_t size;

  A at(int64_t i) const { return load(logits + i, 1)[0]; }

  // The largest logit, and how many are not finite.
  BRAID_INLINE A largest(int64_t& nonfinite) const {
    A best = at(0);
    V lanes = V{} + best;
    V bad = {};
    for (int64_t i = 0; i < size; i += Lanes<T>::count) {
      V x = load(logits + i, size - i);
      for (int64_t lane = size - i; lane < Lanes<T>::count; ++lane) x[lane] = best;
      lanes = x > lanes ? x : lanes;
      const V difference = x - x;
      bad += difference == 0 ? V{} : V{} + 1;
    }
    for (int64_t lane = 0; lane < Lanes<T>::count; ++lane) best = lanes[lane] > best ? lanes[lane] : best;
    // The filler of the last lanes repeats the first logit; count it only when it is in range.
    const int64_t filler = (Lanes<T>::count - size % Lanes<T>::count) % Lanes<T>::count;
    const A first = at(0);
    nonfinite += int64_t(sum_lanes(bad)) - (first - first == 0 ? 0 : filler);
    return best;
  }

  BRAID_INLINE A sum_exponentials(A max) const {
    V sum = {};
    for (int64_t i = 0; i < size; i += Lanes<T>::count) {
      V e = exponential(load(logits + i, size - i) - max);
      for (int64_t lane = size - i; lane < Lanes<T>::count; ++lane) e[lane] = 0;
      sum += e;
    }
    return sum_lanes(sum);
  }

  BRAID_INLINE void gradient(A max, A factor, int64_t target, A scale, T* out) const {
    const A at_target = at(target);  // out may be the logits themselves
    for (int64_t i = 0; i < size; i += Lanes<T>::count) {
      store(out + i, exponential(load(logits + i, size - i) - max) * factor, size - i);
    }
    const V one = exponential(V{} + (at_target - max)) * factor - scale;
    store(out + target, one, 1);
  }
};

template <class T>
void one_row(const T* logits, int64_t vocabulary, int64_t target, double scale, LossSums& sums, T* out) {
  using A = typename Lanes<T>::Scalar;
  const Row<T> row{logits, vocabulary};
  const A max = row.largest(sums.nonfinite);
  if (target == -100) {
    if (out) std::memset(out, 0, size_t(vocabulary) * sizeof(T));
    return;
  }
  const A total = row.sum_exponentials(max);
  const A at_target = row.at(target);
  sums.loss += double(std::log(total)) - double(at_target - max);
  sums.count += 1;
  bool first = at_target == max;
  for (int64_t i = 0; first && i < target; ++i) first = row.at(i) != max;
  sums.correct += first;
  if (out) row.gradient(max, A(scale) / total, target, A(scale), out);
}

template <class T>
void all_rows(int64_t rows, int64_t vocabulary, const T* logits, const int64_t* targets, double scale, LossSums* sums,
              T* dlogits) {
  const int64_t blocks = (rows + block_rows - 1) / block_rows;
  std::vector<LossSums> partial(static_cast<size_t>(blocks));
#pragma omp parallel for schedule(static)
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t end = (block + 1) * block_rows < rows ? (block + 1) * block_rows : rows;
    for (int64_t row = block * block_rows; row < end; ++row) {
      one_row(logits + row * vocabulary, vocabulary, targets[row], scale, partial[size_t(block)],
              dlogits ? dlogits + row * vocabulary : nullptr);
    }
  }
  for (const LossSums& block : partial) {
    sums->loss += block.loss;
    sums->count += block.count;
    sums->correct += block.correct;
    sums->nonfinite += block.nonfinite;
  }
}

template <class T>
void typed(int64_t rows, int64_t vocabulary, const void* logits, const int64_t* targets, double scale, LossSums* sums,
           void* dlogits) {
  all_rows(rows, vocabulary, static_cast<const T*>(logits), targets, scale, sums, static_cast<T*>(dlogits));
}

void dispatch(Element element, int64_t rows, int64_t vocabulary, const void* logits, const int64_t* targets, double scale,
              LossSums* sums, void* dlogits) {
  switch (element) {
    case Element::float32: return typed<float>(rows, vocabulary, logits, targets, scale, sums, dlogits);
    case Element::bfloat16: return typed<Bf16>(rows, vocabulary, logits, targets, scale, sums, dlogits);
    case Element::float64: return typed<double>(rows, vocabulary, logits, targets, scale, sums, dlogits);
  }
}

}  // namespace

const CrossEntropyKernel cross_entropy = dispatch;

}  // namespace braid::kernels::BRAID_LEVEL
