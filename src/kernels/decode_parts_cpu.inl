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
#include "kernels/cpu_product.inl"
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

template <class T>
void add_as(int64_t count, const void* term, void* y) {
  const T* const from = static_cast<const T*>(term);
  T* const to = static_cast<T*>(y);
  for_columns<T>(count, [&](int64_t i, int64_t n) BRAID_LAMBDA { store(to + i, load(to + i, n) + load(from + i, n), n); });
}

template <class T>
void multiply_as(int64_t count, float factor, void* y) {
  T* const to = static_cast<T*>(y);
  for_columns<T>(count, [&](int64_t i, int64_t n) BRAID_LAMBDA { store(to + i, load(to + i, n) * factor, n); });
}

// So many slots are taken together: as rows of a small product, widened once for all queries of the group.
constexpr int64_t slots_at_once = 64;

// A thread's memory, in float32: queries, what they get [G, d] each, scores [G, slots], keys or values of some slots and those
// keys on their side.
struct AttentionMemory {
  AttentionMemory(int64_t group, int64_t columns, int64_t score_row)
      : all(group * (2 * columns + score_row) + 2 * slots_at_once * columns), queries(&all[0]),
        sums(queries + group * columns), scores(sums + group * columns), panel(scores + group * score_row),
        turned(panel + slots_at_once * columns) {}
  ZeroedArray<float> all;
  float *queries, *sums, *scores, *panel, *turned;
};

// The queries of one key head over the slots from `first` to `end` - 1.
template <class T>
void attend_head(const CachedShape& s, int64_t group, int64_t first, int64_t end, const T* keys, const T* values,
                 int64_t score_row, const AttentionMemory& m) {
  const int64_t columns = padded<T>(s.width);
  for (int64_t j = first; j < end; j += slots_at_once) {
    gather_rows(keys + j * s.width, s.width, smaller(slots_at_once, end - j), s.width, 1.0f, m.panel, columns);
    transpose<float>(m.panel, columns, slots_at_once, columns, m.turned, slots_at_once);
    small_product<false, float>({m.queries, columns, 1}, m.turned, slots_at_once, m.scores + j - first, score_row, group,
                                s.width, slots_at_once);
  }
  for (int64_t g = 0; g < group; ++g) softmax_row<T>(m.scores + g * score_row, end - first, padded<T>(end - first));
  __builtin_memset(static_cast<void*>(m.sums), 0, size_t(group * columns) * sizeof(float));
  for (int64_t j = first; j < end; j += slots_at_once) {
    const int64_t count = smaller(slots_at_once, end - j);
    gather_rows(values + j * s.width, s.width, count, s.width, 1.0f, m.panel, columns);
    small_product<true, float>({m.scores + j - first, score_row, 1}, m.panel, columns, m.sums, columns, group, count, columns);
  }
}

template <class T>
void attend(const CachedShape& s, const T* packed, const int64_t* firsts, T* all_keys, T* all_values, T* out, int64_t thread,
            int64_t threads) {
  const int64_t group = s.heads / s.key_value_heads, columns = padded<T>(s.width), head_bytes = s.width * int64_t(sizeof(T));
  const int64_t end = s.filled + 1, score_row = end + 2 * slots_at_once;
  const AttentionMemory m(group, columns, score_row);
  const float scale = 1 / float(__builtin_sqrt(double(s.width)));
  for (int64_t item = thread; item < s.texts * s.key_value_heads; item += threads) {
    const int64_t text = item / s.key_value_heads, kv = item % s.key_value_heads;
    const T* const its = packed + text * (s.heads + 2 * s.key_value_heads) * s.width;
    T *const keys = all_keys + item * s.slots * s.width, *const values = all_values + item * s.slots * s.width;
    __builtin_memcpy(static_cast<void*>(keys + s.filled * s.width), its + (s.heads + kv) * s.width, size_t(head_bytes));
    __builtin_memcpy(static_cast<void*>(values + s.filled * s.width),
                     its + (s.heads + s.key_value_heads + kv) * s.width, size_t(head_bytes));
    gather_rows(its + kv * group * s.width, s.width, group, s.width, scale, m.queries, columns);
    attend_head(s, group, smaller(firsts[text], s.filled), end, keys, values, score_row, m);
    scatter_rows(m.sums, columns, group, s.width, 1.0f, out + (text * s.heads + kv * group) * s.width, s.width);
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

void add_any(Element element, int64_t count, const void* term, void* y) {
  if (element == Element::bfloat16) return add_as<Bf16>(count, term, y);
  add_as<float>(count, term, y);
}

void multiply_any(Element element, int64_t count, float factor, void* y) {
  if (element == Element::bfloat16) return multiply_as<Bf16>(count, factor, y);
  multiply_as<float>(count, factor, y);
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

const DecodeParts decode_parts = {turn_any, gate_any, add_any, multiply_any, attend_any};

}  // namespace braid::kernels::BRAID_LEVEL
