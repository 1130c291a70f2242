// SPDX-License-Identifier: Apache-2.0
// Included once per instruction set with BRAID_LEVEL defined.
#include <immintrin.h>
#include <omp.h>
#include <stddef.h>
#include <stdint.h>

#include <new>

#include "kernels/decode_parts_cpu.h"

namespace braid::kernels::BRAID_LEVEL {
namespace {

#include "kernels/cpu_lanes.inl"
#include "kernels/cpu_exponential.inl"
#include "kernels/cpu_score_rows.inl"
#include "kernels/cpu_few_tokens.inl"

template <class T>
BRAID_INLINE void turn_head(int64_t width, const float* cosine, const float* sine, T* head) {
  const int64_t half = width / 2;
  for_columns<T>(half, [&](int64_t c, int64_t n) BRAID_LAMBDA {
    const FloatLanes low = load(head + c, n), high = load(head + half + c, n);
    store(head + c, low * load(cosine + c, n) - high * load(sine + c, n), n);
    store(head + half + c, high * load(cosine + half + c, n) + low * load(sine + half + c, n), n);
  });
}

template <class T>
void turn(const HeadRows& s, const float* cosine, const float* sine, T* heads) {
  for (int64_t r = 0; r < s.rows; ++r) {
    for (int64_t h = 0; h < s.count; ++h) {
      turn_head(s.width, cosine + r * s.width, sine + r * s.width, heads + r * s.stride + h * s.width);
    }
  }
}

// 1 / (1 + e^-x) without an exponential of a positive number, which may overflow.
BRAID_INLINE FloatLanes sigmoid(FloatLanes x) {
  const FloatLanes e = exponential(x < 0 ? x : -x);
  return (x < 0 ? e : FloatLanes{} + 1) / (1 + e);
}

template <class T>
void gate_of(int64_t count, const T* gate, const T* up, T* out) {
  for_columns<T>(count, [&](int64_t i, int64_t n) BRAID_LAMBDA {
    const FloatLanes x = load(gate + i, n);
    T rounded[lanes];
    store(rounded, x * sigmoid(x), lanes);
    store(out + i, load(rounded, lanes) * load(up + i, n), n);
  });
}

// The scores of a group of queries [G, d], in float32 and padded to vectors, with a run of keys.
template <class T>
void score_keys(const CachedShape& s, int64_t group, const float* queries, int64_t columns, const T* keys, int64_t first,
                int64_t end, float* scores, int64_t score_row) {
  for (int64_t j = first; j < end; ++j) {
    for (int64_t g = 0; g < group; ++g) {
      FloatLanes sum = {};
      for_columns<T>(s.width, [&](int64_t c, int64_t n) BRAID_LAMBDA {
        sum += load(keys + j * s.width + c, n) * load(queries + g * columns + c, lanes);
      });
      scores[g * score_row + j - first] = sum_of(sum);
    }
  }
}

template <class T>
void add_values(const CachedShape& s, int64_t group, const float* scores, int64_t score_row, const T* values, int64_t first,
                int64_t end, float* sums, int64_t columns) {
  for (int64_t j = first; j < end; ++j) {
    for_columns<T>(s.width, [&](int64_t c, int64_t n) BRAID_LAMBDA {
      const FloatLanes value = load(values + j * s.width + c, n);
      for (int64_t g = 0; g < group; ++g) {
        float* const sum = sums + g * columns + c;
        store(sum, load(sum, lanes) + value * scores[g * score_row + j - first], lanes);
      }
    });
  }
}

template <class T>
void attend(const CachedShape& s, const T* packed, const int64_t* firsts, T* all_keys, T* all_values, T* out, int64_t thread,
            int64_t threads) {
  const int64_t group = s.heads / s.key_value_heads, columns = padded<T>(s.width), head_bytes = s.width * int64_t(sizeof(T));
  const int64_t score_row = padded<T>(s.filled + 1), end = s.filled + 1;
  const ZeroedArray<float> memory(group * (2 * columns + score_row));
  float *const queries = &memory[0], *const sums = queries + group * columns, *const scores = sums + group * columns;
  const float scale = 1 / float(__builtin_sqrt(double(s.width)));
  for (int64_t item = thread; item < s.texts * s.key_value_heads; item += threads) {
    const int64_t text = item / s.key_value_heads, kv = item % s.key_value_heads;
    const int64_t first = smaller(firsts[text], s.filled);
    const T* const its = packed + text * (s.heads + 2 * s.key_value_heads) * s.width;
    T *const keys = all_keys + item * s.slots * s.width, *const values = all_values + item * s.slots * s.width;
    __builtin_memcpy(static_cast<void*>(keys + s.filled * s.width), its + (s.heads + kv) * s.width, size_t(head_bytes));
    __builtin_memcpy(static_cast<void*>(values + s.filled * s.width),
                     its + (s.heads + s.key_value_heads + kv) * s.width, size_t(head_bytes));
    gather_rows(its + kv * group * s.width, s.width, group, s.width, scale, queries, columns);
    score_keys(s, group, queries, columns, keys, first, end, scores, score_row);
    for (int64_t g = 0; g < group; ++g) softmax_row<T>(scores + g * score_row, end - first, padded<T>(end - first));
    __builtin_memset(static_cast<void*>(sums), 0, size_t(group * columns) * sizeof(float));
    add_values(s, group, scores, score_row, values, first, end, sums, columns);
    scatter_rows(sums, columns, group, s.width, 1.0f, out + (text * s.heads + kv * group) * s.width, s.width);
  }
}

void turn_any(Element element, const HeadRows& s, const float* cosine, const float* sine, void* heads) {
  if (element == Element::bfloat16) return turn(s, cosine, sine, static_cast<Bf16*>(heads));
  turn(s, cosine, sine, static_cast<float*>(heads));
}

template <class T>
void gate_as(int64_t count, const void* gate, const void* up, void* out) {
  gate_of(count, static_cast<const T*>(gate), static_cast<const T*>(up), static_cast<T*>(out));
}

void gate_any(Element element, int64_t count, const void* gate, const void* up, void* out) {
  if (element == Element::bfloat16) return gate_as<Bf16>(count, gate, up, out);
  gate_as<float>(count, gate, up, out);
}

template <class T>
void attend_as(const CachedShape& s, const void* packed, const int64_t* first, void* keys, void* values, void* out,
               int64_t thread, int64_t threads) {
  attend(s, static_cast<const T*>(packed), first, static_cast<T*>(keys), static_cast<T*>(values), static_cast<T*>(out),
         thread, threads);
}

void attend_any(Element element, const CachedShape& s, const void* packed, const int64_t* first, void* keys, void* values,
                void* out, int64_t thread, int64_t threads) {
  if (element == Element::bfloat16) return attend_as<Bf16>(s, packed, first, keys, values, out, thread, threads);
  attend_as<float>(s, packed, first, keys, values, out, thread, threads);
}

}  // namespace

const DecodeParts decode_parts = {turn_any, gate_any, attend_any};

}  // namespace braid::kernels::BRAID_LEVEL
