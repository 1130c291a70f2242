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
#include "kernels/attention_scratch.inl"

// What a forward call reads and writes: `out` gets the rows themselves, or `sums` those of several parts.
template <class T, class S = typename Lanes<T>::Scalar>
struct ForwardMemory {
  const T *q, *kv;
  T* out;
  S *sums, *lse, *probabilities;
};

// Likewise backward: dq and dkv are written, or added to `dq_sums` and `dkv_sums` with `dots` of the rows.
template <class T, class S = typename Lanes<T>::Scalar>
struct BackwardMemory {
  const T *q, *kv;
  const S *lse, *dots, *probabilities;
  const T* dout;
  T *dq, *dkv;
  S *dq_sums, *dkv_sums;
};

// What a row of `end` scores reads is [hidden, visible): where there is none it becomes zeros, and the answer is true.
template <class T, class S = typename Lanes<T>::Scalar>
bool sees_nothing(S* row, int64_t hidden, int64_t visible, int64_t end) {
  if (hidden < visible) return false;
  __builtin_memset((void*)row, 0, size_t(end) * sizeof(S));
  return true;
}

template <class T, class S = typename Lanes<T>::Scalar>
S softmax_behind(S* row, int64_t hidden, int64_t visible, int64_t end) {
  if (sees_nothing<T>(row, hidden, visible, end)) return S(-__builtin_inf());
  for (int64_t j = 0; j < hidden; ++j) row[j] = S(-__builtin_inf());
  return softmax_row<T>(row, visible, end);
}

// The same row again from its log sum.
template <class T, class S = typename Lanes<T>::Scalar>
void probability_row(S* row, int64_t hidden, int64_t visible, int64_t end, S lse) {
  using V = typename Lanes<T>::Vector;
  if (sees_nothing<T>(row, hidden, visible, end)) return;
  for_columns<T>(visible, [&](int64_t j, int64_t n) BRAID_LAMBDA {
    store(row + j, exponential(load(row + j, n, S(-__builtin_inf())) - lse), Lanes<T>::count);
  });
  for (int64_t j = padded<T>(visible); j < end; j += Lanes<T>::count) store(row + j, V{}, Lanes<T>::count);
  for (int64_t j = 0; j < hidden; ++j) row[j] = 0;
}

template <class T, class S = typename Lanes<T>::Scalar>
void load_head(const Layout<T>& s, const T* kv, int64_t sample, int64_t kv_head, Scratch<T>& m) {
  const T* const keys = kv + s.key_head(sample, kv_head);
  gather_rows(keys, s.key.token, s.keys, s.width, S(1), m.keys, s.columns);
  gather_rows(keys + s.values_behind(), s.key.token, s.keys, s.width, S(1), m.values, s.columns);
  transpose<T>(m.keys, s.columns, s.keys, s.width, m.keys_t, s.score_row);
}

// Rows of one part, with their log sums, join those of the parts before: the softmax over both. A row that sees nothing of the part
// stays.
template <class T, class S = typename Lanes<T>::Scalar>
void merge_rows(const Layout<T>& s, const S* row, const S* part_lse, int64_t rows, S* sums, S* lse) {
  for (int64_t r = 0; r < rows; ++r) {
    if (part_lse[r] == S(-__builtin_inf())) continue;
    const double before = double(lse[r]), now = double(part_lse[r]), top = before > now ? before : now;
    const double all = top + __builtin_log(__builtin_exp(before - top) + __builtin_exp(now - top));
    const S keep = S(__builtin_exp(before - all)), share = S(__builtin_exp(now - all));
    S* const sum = sums + r * s.out.token;
    for_columns<T>(s.width, [&](int64_t c, int64_t n) BRAID_LAMBDA {
      store(sum + c, load(sum + c, n) * keep + load(row + r * s.columns + c, n) * share, n);
    });
    lse[r] = S(all);
  }
}

template <class T, class S = typename Lanes<T>::Scalar>
void add_rows(const S* in, int64_t in_row, int64_t rows, int64_t width, S factor, S* out, int64_t out_row) {
  for (int64_t t = 0; t < rows; ++t) {
    for_columns<T>(width, [&](int64_t c, int64_t n) BRAID_LAMBDA {
      S* const to = out + t * out_row + c;
      store(to, load(to, n) + load(in + t * in_row + c, n) * factor, n);
    });
  }
}

// The whole matrix exists for causal attention alone, of as many keys as queries.
template <class T, class S = typename Lanes<T>::Scalar>
void keep_probabilities(const Layout<T>& s, const Scratch<T>& m, int64_t first, int64_t rows, S* matrix) {
  const int64_t seen = s.seen(first + rows - 1);
  scatter_rows(m.scores, s.score_row, rows, seen, S(1), matrix + first * s.keys, s.keys);
  for (int64_t r = 0; r < rows; ++r) {
    __builtin_memset((void*)(matrix + (first + r) * s.keys + seen), 0, size_t(s.keys - seen) * sizeof(S));
  }
}

template <class T, class S = typename Lanes<T>::Scalar>
void forward_block(const Layout<T>& s, const ForwardMemory<T>& io, int64_t sample, int64_t head, int64_t first, int64_t rows,
                   Scratch<T>& m) {
  const Columns c = s.columns_of(sample, first, rows);
  if (c.keys() == 0) return;
  const int64_t index = sample * s.heads + head;
  S* const scores = m.scores + c.first;
  gather_rows(io.q + s.at(s.query, sample, first, head * s.width), s.query.token, rows, s.width, s.scale, m.query, s.columns);
  small_product<false, T>({m.query, s.columns, 1}, m.keys_t + c.first, s.score_row, scores, s.score_row, rows, s.width, c.all());
  S found[Layout<T>::largest_block];
  for (int64_t r = 0; r < rows; ++r) {
    found[r] = softmax_behind<T>(scores + r * s.score_row, s.unseen(sample, first + r) - c.first, s.seen(first + r) - c.first, c.all());
  }
  if (io.probabilities) keep_probabilities(s, m, first, rows, io.probabilities + index * s.queries * s.keys);
  small_product<false, T>({scores, s.score_row, 1}, m.values + c.first * s.columns, s.columns, m.row, s.columns, rows, c.keys(),
                          s.columns);
  const int64_t place = s.at(s.out, sample, first, head * s.width);
  S* const lse = io.lse + index * s.lse_head + first;
  if (io.sums) return merge_rows<T>(s, m.row, found, rows, io.sums + place, lse);
  for (int64_t r = 0; r < rows; ++r) lse[r] = found[r];
  scatter_rows(m.row, s.columns, rows, s.width, S(1), io.out + place, s.out.token);
}

// Calls body(sample, head, first, rows) for blocks of queries of a key head, between begin and end.
template <class T, class Begin, class Body, class End>
void for_heads(const Layout<T>& s, bool backward, const Begin& begin, const Body& body, const End& end) {
#pragma omp parallel
  {
    Scratch<T> m(s, backward);
#pragma omp for schedule(static)
    for (int64_t item = 0; item < s.batch * s.key_value_heads; ++item) {
      const int64_t sample = item / s.key_value_heads, kv_head = item % s.key_value_heads;
      begin(sample, kv_head, m);
      for (int64_t head = kv_head * s.group; head < (kv_head + 1) * s.group; ++head) {
        for (int64_t first = 0; first < s.queries; first += s.block()) {
          body(sample, head, first, s.queries - first < s.block() ? s.queries - first : s.block(), m);
        }
      }
      end(sample, kv_head, m);
    }
  }
}

template <class T>
void forward_typed(const Layout<T>& s, const ForwardMemory<T>& io) {
  for_heads(
      s, false, [&](int64_t sample, int64_t kv_head, Scratch<T>& m) { load_head(s, io.kv, sample, kv_head, m); },
      [&](int64_t sample, int64_t head, int64_t first, int64_t rows, Scratch<T>& m) {
        forward_block(s, io, sample, head, first, rows, m);
      },
      [](int64_t, int64_t, Scratch<T>&) {});
}

// dscores = P (dP - m) in place of dP. m is the row's dot product of result and gradient where `dots` has it, else
// sum_j P dP / sum_j P: taken from the same rounded P, so that a row of gradients sums to nothing.
template <class T, class S = typename Lanes<T>::Scalar>
void score_gradients(const Layout<T>& s, Scratch<T>& m, int64_t rows, const Columns& c, const S* dots) {
  constexpr int64_t count = Lanes<T>::count;
  for (int64_t r = 0; r < rows; ++r) {
    const S* const p = m.scores + r * s.score_row + c.first;
    S* const d = m.dscores + r * s.score_row + c.first;
    typename Lanes<T>::Vector dot = {}, sum = {};
    for (int64_t j = 0; j < c.all() && !dots; j += count) {
      dot += load(p + j, count) * load(d + j, count);
      sum += load(p + j, count);
    }
    const S mean = dots ? dots[r] : sum_lanes(dot) / sum_lanes(sum);
    for (int64_t j = 0; j < c.all(); j += count) store(d + j, load(p + j, count) * (load(d + j, count) - mean), count);
  }
}

template <class T, class S = typename Lanes<T>::Scalar>
void block_probabilities(const Layout<T>& s, int64_t sample, int64_t first, int64_t rows, const Columns& c, Scratch<T>& m,
                         const S* lse, const S* matrix) {
  if (matrix) return gather_rows(matrix + first * s.keys, s.keys, rows, c.seen, S(1), m.scores, s.score_row);
  S* const scores = m.scores + c.first;
  small_product<false, T>({m.query, s.columns, 1}, m.keys_t + c.first, s.score_row, scores, s.score_row, rows, s.width, c.all());
  for (int64_t r = 0; r < rows; ++r) {
    probability_row<T>(scores + r * s.score_row, s.unseen(sample, first + r) - c.first, s.seen(first + r) - c.first, c.all(), lse[r]);
  }
}

template <class T, class S = typename Lanes<T>::Scalar>
void backward_block(const Layout<T>& s, const BackwardMemory<T>& io, int64_t sample, int64_t head, int64_t first,
                    int64_t rows, Scratch<T>& m) {
  const Columns c = s.columns_of(sample, first, rows);
  if (c.keys() == 0) return;
  const int64_t index = sample * s.heads + head, row = index * s.lse_head + first, in_token = head * s.width;
  const int64_t to_keys = c.first * s.columns;
  gather_rows(io.q + s.at(s.query, sample, first, in_token), s.query.token, rows, s.width, s.scale, m.query, s.columns);
  gather_rows(io.dout + s.at(s.out, sample, first, in_token), s.out.token, rows, s.width, S(1), m.drow, s.columns);
  block_probabilities(s, sample, first, rows, c, m, io.lse + row,
                      io.probabilities ? io.probabilities + index * s.queries * s.keys : nullptr);
  const S* const scores = m.scores + c.first;
  S* const dscores = m.dscores + c.first;
  small_product<true, T>({scores, 1, s.score_row}, m.drow, s.columns, m.dvalues + to_keys, s.columns, c.keys(), rows, s.columns);
  small_product<false, T>({m.drow, s.columns, 1}, m.values_t + c.first, s.score_row, dscores, s.score_row, rows, s.width, c.all());
  score_gradients(s, m, rows, c, io.dots ? io.dots + row : nullptr);
  small_product<false, T>({dscores, s.score_row, 1}, m.keys + to_keys, s.columns, m.row, s.columns, rows, c.keys(), s.columns);
  const int64_t place = s.at(s.dquery, sample, first, in_token);
  if (io.dq_sums) {
    add_rows<T>(m.row, s.columns, rows, s.width, s.scale, io.dq_sums + place, s.dquery.token);
  } else {
    scatter_rows(m.row, s.columns, rows, s.width, s.scale, io.dq + place, s.dquery.token);
  }
  small_product<true, T>({dscores, 1, s.score_row}, m.query, s.columns, m.dkeys + to_keys, s.columns, c.keys(), rows, s.columns);
}

template <class T, class S = typename Lanes<T>::Scalar>
void begin_head_backward(const Layout<T>& s, const T* kv, int64_t sample, int64_t kv_head, Scratch<T>& m) {
  load_head(s, kv, sample, kv_head, m);
  transpose<T>(m.values, s.columns, s.keys, s.width, m.values_t, s.score_row);
  __builtin_memset(m.dkeys, 0, size_t(s.score_row * s.columns) * sizeof(S));
  __builtin_memset(m.dvalues, 0, size_t(s.score_row * s.columns) * sizeof(S));
}

template <class T, class S = typename Lanes<T>::Scalar>
void end_head_backward(const Layout<T>& s, const BackwardMemory<T>& io, int64_t sample, int64_t kv_head, Scratch<T>& m) {
  const int64_t key = s.key_head(sample, kv_head), value = key + s.values_behind();
  if (io.dkv_sums) {
    add_rows<T>(m.dkeys, s.columns, s.keys, s.width, S(1), io.dkv_sums + key, s.key.token);
    add_rows<T>(m.dvalues, s.columns, s.keys, s.width, S(1), io.dkv_sums + value, s.key.token);
  } else {
    scatter_rows(m.dkeys, s.columns, s.keys, s.width, S(1), io.dkv + key, s.key.token);
    scatter_rows(m.dvalues, s.columns, s.keys, s.width, S(1), io.dkv + value, s.key.token);
  }
}

template <class T>
void backward_typed(const Layout<T>& s, const BackwardMemory<T>& io) {
  for_heads(
      s, true, [&](int64_t sample, int64_t kv_head, Scratch<T>& m) { begin_head_backward(s, io.kv, sample, kv_head, m); },
      [&](int64_t sample, int64_t head, int64_t first, int64_t rows, Scratch<T>& m) {
        backward_block(s, io, sample, head, first, rows, m);
      },
      [&](int64_t sample, int64_t kv_head, Scratch<T>& m) { end_head_backward(s, io, sample, kv_head, m); });
}

template <class T, class S = typename Lanes<T>::Scalar>
void forward_of(const AttentionPart& part, const AttentionCall& c) {
  forward_typed<T>({part, part.query},
                   {static_cast<const T*>(c.q), static_cast<const T*>(c.kv), static_cast<T*>(c.out), static_cast<S*>(c.sums),
                    static_cast<S*>(c.lse), static_cast<S*>(c.probabilities)});
}

// A gradient that is written lies as the queries do, one that is added to as the results.
template <class T, class S = typename Lanes<T>::Scalar>
void backward_of(const AttentionPart& part, const AttentionGradientCall& c) {
  backward_typed<T>({part, c.dq_sums ? part.out : part.query},
                    {static_cast<const T*>(c.q), static_cast<const T*>(c.kv), static_cast<const S*>(c.lse),
                     static_cast<const S*>(c.dots), static_cast<const S*>(c.probabilities), static_cast<const T*>(c.dout),
                     static_cast<T*>(c.dq), static_cast<T*>(c.dkv), static_cast<S*>(c.dq_sums), static_cast<S*>(c.dkv_sums)});
}

void forward(Element element, const AttentionPart& part, const AttentionCall& call) {
  switch (element) {
    case Element::float32: return forward_of<float>(part, call);
    case Element::bfloat16: return forward_of<Bf16>(part, call);
    case Element::float64: return forward_of<double>(part, call);
  }
}

void backward(Element element, const AttentionPart& part, const AttentionGradientCall& call) {
  switch (element) {
    case Element::float32: return backward_of<float>(part, call);
    case Element::bfloat16: return backward_of<Bf16>(part, call);
    case Element::float64: return backward_of<double>(part, call);
  }
}

}  // namespace

const AttentionKernels attention = {forward, backward};

}  // namespace braid::kernels::BRAID_LEVEL
