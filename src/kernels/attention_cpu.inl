// SPDX-License-Identifier: Apache-2.0
// Included once per instruction set with BRAID_LEVEL defined. One head at a time: its keys and values are brought into
// rows of vectors (and their transposes), then blocks of queries are multiplied against the keys they may see, whole
// rows of scores at once: no running maximum is needed because a block of rows fits the cache.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include <new>

#include "kernels/attention_cpu.h"

namespace braid::kernels::BRAID_LEVEL {
namespace {

#include "kernels/cpu_lanes.inl"
#include "kernels/cpu_exponential.inl"
#include "kernels/cpu_product.inl"
#include "kernels/cpu_score_rows.inl"

// Strides and sizes of one call, in elements.
template <class T>
struct Layout {
  using S = typename Lanes<T>::Scalar;
  int64_t tokens, heads, key_value_heads, width;
  // Rows of scores and of a head, padded; an odd number of vectors, so that a column does not sit in one cache set.
  int64_t keys = padded<T>(tokens) | Lanes<T>::count, columns = padded<T>(width);
  int64_t slots = heads + 2 * key_value_heads, group = heads / key_value_heads;
  int64_t in_row = slots * width, out_row = heads * width;
  S scale = S(1) / __builtin_sqrt(S(width));

  explicit Layout(const AttentionShape& s)
      : tokens(s.tokens), heads(s.heads), key_value_heads(s.key_value_heads), width(s.width) {}

  // Queries of a block: few enough to skip most of what is hidden, and for their scores to stay in cache.
  int64_t block() const {
    const int64_t fitting = scores_in_cache / keys / 8 * 8;
    return fitting > 32 ? 32 : fitting < 8 ? 8 : fitting;
  }
  int64_t in(int64_t sample, int64_t slot) const { return sample * tokens * in_row + slot * width; }
  int64_t out(int64_t sample, int64_t head) const { return sample * tokens * out_row + head * width; }
};

// A thread's memory, reused for each head.
template <class T>
struct Scratch {
  using S = typename Lanes<T>::Scalar;
  ZeroedArray<S> memory;
  S *keys, *keys_t, *values, *values_t = nullptr;                  // [T, d], [d, T]
  S *dkeys = nullptr, *dvalues = nullptr;                          // [T, d]
  S *query, *row, *drow = nullptr, *scores, *dscores = nullptr;    // [block, d] and [block, T]

  Scratch(const Layout<T>& s, bool backward)
      : memory(s.keys * s.columns * (backward ? 6 : 3) + s.block() * (s.columns + s.keys) * 3 + Lanes<T>::count) {
    // At a multiple of a vector, so that no load crosses a cache line.
    S* next = reinterpret_cast<S*>((reinterpret_cast<uintptr_t>(&memory[0]) + vector_bytes - 1) & -vector_bytes);
    const auto take = [&](int64_t count) {
      S* here = next;
      next += count;
      return here;
    };
    const int64_t head = s.keys * s.columns, block = s.block() * s.columns, rows = s.block() * s.keys;
    keys = take(head), keys_t = take(head), values = take(head);
    query = take(block), row = take(block), scores = take(rows);
    if (!backward) return;
    values_t = take(head), dkeys = take(head), dvalues = take(head);
    drow = take(block), dscores = take(rows);
  }
};

// The same row again from its log sum.
template <class T, class S = typename Lanes<T>::Scalar>
void probability_row(S* row, int64_t visible, int64_t end, S lse) {
  using V = typename Lanes<T>::Vector;
  for_columns<T>(visible, [&](int64_t j, int64_t n) BRAID_LAMBDA {
    store(row + j, exponential(load(row + j, n, S(-__builtin_inf())) - lse), Lanes<T>::count);
  });
  for (int64_t j = padded<T>(visible); j < end; j += Lanes<T>::count) store(row + j, V{}, Lanes<T>::count);
}

template <class T, class S = typename Lanes<T>::Scalar>
void load_head(const Layout<T>& s, const T* qkv, int64_t sample, int64_t kv_head, Scratch<T>& m) {
  const int64_t key = s.in(sample, s.heads + kv_head), value = s.in(sample, s.heads + s.key_value_heads + kv_head);
  gather_rows(qkv + key, s.in_row, s.tokens, s.width, S(1), m.keys, s.columns);
  gather_rows(qkv + value, s.in_row, s.tokens, s.width, S(1), m.values, s.columns);
  transpose<T>(m.keys, s.columns, s.tokens, s.width, m.keys_t, s.keys);
}

template <class T, class S = typename Lanes<T>::Scalar>
void forward_block(const Layout<T>& s, const T* qkv, int64_t sample, int64_t head, int64_t first, int64_t rows,
                   Scratch<T>& m, T* out, S* lse, S* probabilities) {
  const int64_t seen = first + rows, end = padded<T>(seen);
  gather_rows(qkv + s.in(sample, head) + first * s.in_row, s.in_row, rows, s.width, s.scale, m.query, s.columns);
  small_product<false, T>({m.query, s.columns, 1}, m.keys_t, s.keys, m.scores, s.keys, rows, s.width, end);
  for (int64_t r = 0; r < rows; ++r) lse[first + r] = softmax_row<T>(m.scores + r * s.keys, first + r + 1, end);
  if (probabilities) {
    scatter_rows(m.scores, s.keys, rows, seen, S(1), probabilities + first * s.tokens, s.tokens);
    for (int64_t r = 0; r < rows; ++r) {
      __builtin_memset((void*)(probabilities + (first + r) * s.tokens + seen), 0, size_t(s.tokens - seen) * sizeof(S));
    }
  }
  small_product<false, T>({m.scores, s.keys, 1}, m.values, s.columns, m.row, s.columns, rows, seen, s.columns);
  scatter_rows(m.row, s.columns, rows, s.width, S(1), out + s.out(sample, head) + first * s.out_row, s.out_row);
}

template <class T>
void forward_typed(const AttentionShape& shape, const T* qkv, T* out, typename Lanes<T>::Scalar* lse,
                   typename Lanes<T>::Scalar* probabilities) {
  using S = typename Lanes<T>::Scalar;
  const Layout<T> s(shape);
#pragma omp parallel
  {
    Scratch<T> m(s, false);
#pragma omp for schedule(static)
    for (int64_t item = 0; item < shape.batch * s.key_value_heads; ++item) {
      const int64_t sample = item / s.key_value_heads, kv_head = item % s.key_value_heads;
      load_head(s, qkv, sample, kv_head, m);
      for (int64_t head = kv_head * s.group; head < (kv_head + 1) * s.group; ++head) {
        const int64_t index = sample * s.heads + head;
        S* const matrix = probabilities ? probabilities + index * s.tokens * s.tokens : nullptr;
        for (int64_t first = 0; first < s.tokens; first += s.block()) {
          const int64_t rows = s.tokens - first < s.block() ? s.tokens - first : s.block();
          forward_block(s, qkv, sample, head, first, rows, m, out, lse + index * s.tokens, matrix);
        }
      }
    }
  }
}

// dscores = P (dP - m) in place of dP, where m = sum_j P dP / sum_j P: taken from the same rounded P, so that a row of
// gradients sums to nothing.
template <class T, class S = typename Lanes<T>::Scalar>
void score_gradients(const Layout<T>& s, Scratch<T>& m, int64_t rows, int64_t end) {
  constexpr int64_t count = Lanes<T>::count;
  for (int64_t r = 0; r < rows; ++r) {
    const S* const p = m.scores + r * s.keys;
    S* const d = m.dscores + r * s.keys;
    typename Lanes<T>::Vector dot = {}, sum = {};
    for (int64_t j = 0; j < end; j += count) {
      dot += load(p + j, count) * load(d + j, count);
      sum += load(p + j, count);
    }
    const S mean = sum_lanes(dot) / sum_lanes(sum);
    for (int64_t j = 0; j < end; j += count) store(d + j, load(p + j, count) * (load(d + j, count) - mean), count);
  }
}

template <class T, class S = typename Lanes<T>::Scalar>
void block_probabilities(const Layout<T>& s, int64_t first, int64_t rows, Scratch<T>& m, const S* lse,
                         const S* probabilities) {
  const int64_t seen = first + rows, end = padded<T>(seen);
  if (probabilities) {
    return gather_rows(probabilities + first * s.tokens, s.tokens, rows, seen, S(1), m.scores, s.keys);
  }
  small_product<false, T>({m.query, s.columns, 1}, m.keys_t, s.keys, m.scores, s.keys, rows, s.width, end);
  for (int64_t r = 0; r < rows; ++r) probability_row<T>(m.scores + r * s.keys, first + r + 1, end, lse[first + r]);
}

template <class T, class S = typename Lanes<T>::Scalar>
void backward_block(const Layout<T>& s, const T* qkv, int64_t sample, int64_t head, int64_t first, int64_t rows,
                    Scratch<T>& m, const S* lse, const S* probabilities, const T* dout, T* dqkv) {
  const int64_t seen = first + rows, end = padded<T>(seen);
  const int64_t at_out = s.out(sample, head) + first * s.out_row, at_query = s.in(sample, head) + first * s.in_row;
  gather_rows(qkv + at_query, s.in_row, rows, s.width, s.scale, m.query, s.columns);
  gather_rows(dout + at_out, s.out_row, rows, s.width, S(1), m.drow, s.columns);
  block_probabilities(s, first, rows, m, lse, probabilities);
  small_product<true, T>({m.scores, 1, s.keys}, m.drow, s.columns, m.dvalues, s.columns, seen, rows, s.columns);
  small_product<false, T>({m.drow, s.columns, 1}, m.values_t, s.keys, m.dscores, s.keys, rows, s.width, end);
  score_gradients(s, m, rows, end);
  small_product<false, T>({m.dscores, s.keys, 1}, m.keys, s.columns, m.row, s.columns, rows, seen, s.columns);
  scatter_rows(m.row, s.columns, rows, s.width, s.scale, dqkv + at_query, s.in_row);
  small_product<true, T>({m.dscores, 1, s.keys}, m.query, s.columns, m.dkeys, s.columns, seen, rows, s.columns);
}

template <class T, class S = typename Lanes<T>::Scalar>
void begin_head_backward(const Layout<T>& s, const T* qkv, int64_t sample, int64_t kv_head, Scratch<T>& m) {
  load_head(s, qkv, sample, kv_head, m);
  transpose<T>(m.values, s.columns, s.tokens, s.width, m.values_t, s.keys);
  __builtin_memset(m.dkeys, 0, size_t(s.keys * s.columns) * sizeof(S));
  __builtin_memset(m.dvalues, 0, size_t(s.keys * s.columns) * sizeof(S));
}

template <class T, class S = typename Lanes<T>::Scalar>
void end_head_backward(const Layout<T>& s, int64_t sample, int64_t kv_head, Scratch<T>& m, T* dqkv) {
  T* const dkeys = dqkv + s.in(sample, s.heads + kv_head);
  scatter_rows(m.dkeys, s.columns, s.tokens, s.width, S(1), dkeys, s.in_row);
  scatter_rows(m.dvalues, s.columns, s.tokens, s.width, S(1), dkeys + s.key_value_heads * s.width, s.in_row);
}

template <class T>
void backward_typed(const AttentionShape& shape, const T* qkv, const typename Lanes<T>::Scalar* lse,
                    const typename Lanes<T>::Scalar* probabilities, const T* dout, T* dqkv) {
  using S = typename Lanes<T>::Scalar;
  const Layout<T> s(shape);
#pragma omp parallel
  {
    Scratch<T> m(s, true);
#pragma omp for schedule(static)
    for (int64_t item = 0; item < shape.batch * s.key_value_heads; ++item) {
      const int64_t sample = item / s.key_value_heads, kv_head = item % s.key_value_heads;
      begin_head_backward(s, qkv, sample, kv_head, m);
      for (int64_t head = kv_head * s.group; head < (kv_head + 1) * s.group; ++head) {
        const int64_t index = sample * s.heads + head;
        const S* const matrix = probabilities ? probabilities + index * s.tokens * s.tokens : nullptr;
        for (int64_t first = 0; first < s.tokens; first += s.block()) {
          const int64_t rows = s.tokens - first < s.block() ? s.tokens - first : s.block();
          backward_block(s, qkv, sample, head, first, rows, m, lse + index * s.tokens, matrix, dout, dqkv);
        }
      }
      end_head_backward(s, sample, kv_head, m, dqkv);
    }
  }
}

template <class T, class S = typename Lanes<T>::Scalar>
void forward_of(const AttentionShape& shape, const void* qkv, void* out, void* lse, void* probabilities) {
  forward_typed(shape, static_cast<const T*>(qkv), static_cast<T*>(out), static_cast<S*>(lse),
                static_cast<S*>(probabilities));
}

template <class T, class S = typename Lanes<T>::Scalar>
void backward_of(const AttentionShape& shape, const void* qkv, const void* lse, const void* probabilities,
                 const void* dout, void* dqkv) {
  backward_typed(shape, static_cast<const T*>(qkv), static_cast<const S*>(lse), static_cast<const S*>(probabilities),
                 static_cast<const T*>(dout), static_cast<T*>(dqkv));
}

void forward(Element element, const AttentionShape& shape, const void* qkv, void* out, void* lse,
             void* probabilities) {
  switch (element) {
    case Element::float32: return forward_of<float>(shape, qkv, out, lse, probabilities);
    case Element::bfloat16: return forward_of<Bf16>(shape, qkv, out, lse, probabilities);
    case Element::float64: return forward_of<double>(shape, qkv, out, lse, probabilities);
  }
}

void backward(Element element, const AttentionShape& shape, const void* qkv, const void* lse,
              const void* probabilities, const void* dout, void* dqkv) {
  switch (element) {
    case Element::float32: return backward_of<float>(shape, qkv, lse, probabilities, dout, dqkv);
    case Element::bfloat16: return backward_of<Bf16>(shape, qkv, lse, probabilities, dout, dqkv);
    case Element::float64: return backward_of<double>(shape, qkv, lse, probabilities, dout, dqkv);
  }
}

}  // namespace

const AttentionKernels attention = {forward, backward};

}  // namespace braid::kernels::BRAID_LEVEL
