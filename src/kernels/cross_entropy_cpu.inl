// SPDX-License-Identifier: Apache-2.0
// Included once per instruction set with BRAID_LEVEL defined. Three passes over a row that stays in cache: largest
// logit, sum of exponentials, gradient. Loss sums are kept per block of rows and added in order: no dependence on
// threads.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include <new>

#include "kernels/cross_entropy_cpu.h"

namespace braid::kernels::BRAID_LEVEL {
namespace {

#include "kernels/cpu_lanes.inl"
#include "kernels/cpu_exponential.inl"

constexpr int64_t block_rows = 64;

template <class T>
struct Row {
  using A = typename Lanes<T>::Scalar;
  using V = typename Lanes<T>::Vector;
  using Mask = decltype(V{} == V{});  // 0 or -1 per lane
  static constexpr int64_t count = Lanes<T>::count;
  const T* logits;
  int64_t size;

  BRAID_INLINE A at(int64_t i) const { return load(logits + i, 1)[0]; }

  // The largest logit (NaN are passed over, but for a first one); adds to the number of those that are not finite.
  BRAID_INLINE A largest(int64_t& nonfinite) const {
    V lanes = V{} + at(0);
    Mask finite = {};
    for_columns<T>(size, [&](int64_t i, int64_t left) BRAID_LAMBDA {
      const V x = load(logits + i, left, -A(__builtin_inf()));
      lanes = x > lanes ? x : lanes;
      finite -= x - x == 0;
    });
    A best = lanes[0];
    for (int64_t lane = 1; lane < count; ++lane) best = lanes[lane] > best ? lanes[lane] : best;
    nonfinite += size - int64_t(sum_lanes(finite));
    return best;
  }

  BRAID_INLINE A sum_exponentials(A max) const {
    V sum = {};
    for_columns<T>(size, [&](int64_t i, int64_t left) BRAID_LAMBDA {
      sum += exponential(load(logits + i, left, -A(__builtin_inf())) - max);
    });
    return sum_lanes(sum);
  }

  BRAID_INLINE bool any_equal_before(int64_t end, A value) const {
    Mask equal = {};
    int64_t i = 0;
    for (; i + count <= end; i += count) equal |= load(logits + i, count) == value;
    bool any = false;
    for (int64_t lane = 0; lane < count; ++lane) any |= equal[lane] != 0;
    for (; i < end; ++i) any |= at(i) == value;
    return any;
  }

  BRAID_INLINE void gradient(A max, A factor, int64_t target, A scale, T* out) const {
    const V at_target = V{} + (at(target) - max);  // read first: out may be the logits themselves
    for_columns<T>(size, [&](int64_t i, int64_t left) BRAID_LAMBDA {
      store(out + i, exponential(load(logits + i, left) - max) * factor, left);
    });
    store(out + target, exponential(at_target) * factor - scale, 1);
  }
};

// A row with NaN or +infinity has a NaN sum of exponentials: its loss is NaN and it counts as not correct.
template <class T>
void one_row(const T* logits, int64_t vocabulary, int64_t target, double scale, LossSums& sums, T* out) {
  using A = typename Lanes<T>::Scalar;
  const Row<T> row{logits, vocabulary};
  const A max = row.largest(sums.nonfinite);
  if (target == -100) {
    if (out) __builtin_memset(static_cast<void*>(out), 0, size_t(vocabulary) * sizeof(T));
    return;
  }
  const A total = row.sum_exponentials(max), at_target = row.at(target);
  sums.loss += __builtin_log(double(total)) - (double(at_target) - double(max));
  sums.count += 1;
  sums.correct += total == total && at_target == max && !row.any_equal_before(target, max);
  if (out) row.gradient(max, A(scale) / total, target, A(scale), out);
}

template <class T>
void all_rows(int64_t rows, int64_t vocabulary, const T* logits, const int64_t* targets, double scale, LossSums* sums,
              T* dlogits) {
  const int64_t blocks = (rows + block_rows - 1) / block_rows;
  const ZeroedArray<LossSums> partial(blocks);
#pragma omp parallel for schedule(static)
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t end = (block + 1) * block_rows < rows ? (block + 1) * block_rows : rows;
    for (int64_t row = block * block_rows; row < end; ++row) {
      one_row(logits + row * vocabulary, vocabulary, targets[row], scale, partial[block],
              dlogits ? dlogits + row * vocabulary : nullptr);
    }
  }
  for (int64_t block = 0; block < blocks; ++block) {
    sums->loss += partial[block].loss;
    sums->count += partial[block].count;
    sums->correct += partial[block].correct;
    sums->nonfinite += partial[block].nonfinite;
  }
}

template <class T>
void typed(int64_t rows, int64_t vocabulary, const void* logits, const int64_t* targets, double scale, LossSums* sums,
           void* dlogits) {
  all_rows(rows, vocabulary, static_cast<const T*>(logits), targets, scale, sums, static_cast<T*>(dlogits));
}

void dispatch(Element element, int64_t rows, int64_t vocabulary, const void* logits, const int64_t* targets,
              double scale, LossSums* sums, void* dlogits) {
  switch (element) {
    case Element::float32: return typed<float>(rows, vocabulary, logits, targets, scale, sums, dlogits);
    case Element::bfloat16: return typed<Bf16>(rows, vocabulary, logits, targets, scale, sums, dlogits);
    case Element::float64: return typed<double>(rows, vocabulary, logits, targets, scale, sums, dlogits);
  }
}

}  // namespace

const CrossEntropyKernel cross_entropy = dispatch;

}  // namespace braid::kernels::BRAID_LEVEL
