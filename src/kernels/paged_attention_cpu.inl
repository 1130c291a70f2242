// SPDX-License-Identifier: Apache-2.0
// Included once per instruction set with BRAID_LEVEL defined. Rows of one text that follow one another are taken
// together: their queries, all heads that share keys, are the rows of small products against one block after another,
// which are read where they lie if they are in the type that is computed in.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include <new>

#include "kernels/paged_attention_cpu.h"

namespace braid::kernels::BRAID_LEVEL {
namespace {

#include "kernels/cpu_lanes.inl"
#include "kernels/cpu_exponential.inl"
#include "kernels/cpu_product.inl"
#include "kernels/cpu_score_rows.inl"

// Sizes and strides of one call, in elements.
template <class T>
struct Layout : PagedShape {
  using S = typename Lanes<T>::Scalar;
  int64_t group = heads / key_value_heads;
  int64_t in_row = (heads + 2 * key_value_heads) * width, out_row = heads * width;
  int64_t head = width * block_tokens;                                        // of one key head in a block
  int64_t columns = padded<T>(width), block_columns = padded<T>(block_tokens);
  // A row of scores, with room for what the last block writes behind it; an odd number of vectors, so that a column
  // does not sit in one cache set.
  int64_t score_row = (padded<T>(longest + block_tokens) + Lanes<T>::count) | Lanes<T>::count;
  S scale = S(1) / __builtin_sqrt(S(width));

  explicit Layout(const PagedShape& shape) : PagedShape(shape) {}

  // Rows that are taken together.
  int64_t most_rows() const {
    const int64_t fitting = scores_in_cache / (score_row * group);
    return fitting > 32 ? 32 : fitting < 1 ? 1 : fitting;
  }
  // Where head kv_head of the block that holds the token lies in keys and values.
  int64_t block_of(const PagedInputs& in, int64_t table, int64_t token, int64_t kv_head) const {
    return (in.tables[table * table_width + token / block_tokens] * key_value_heads + kv_head) * head;
  }
};

// A thread's memory.
template <class T>
struct Scratch {
  using S = typename Lanes<T>::Scalar;
  ZeroedArray<S> memory;
  S *query, *row, *scores, *keys, *values;  // [rows, d] twice, [rows, keys], and one block's: [d, tokens], [tokens, d]

  explicit Scratch(const Layout<T>& s)
      : memory(s.most_rows() * s.group * (2 * s.columns + s.score_row) + s.width * s.block_columns +
               s.block_tokens * s.columns) {
    const int64_t rows = s.most_rows() * s.group;
    query = &memory[0];
    row = query + rows * s.columns;
    keys = row + rows * s.columns;
    values = keys + s.width * s.block_columns;
    scores = values + s.block_tokens * s.columns;
  }
};

template <class S>
struct Operand {
  const S* data;
  int64_t row;
};

// rows x width elements as the right side of a product: where they lie, or converted and padded in `panel`.
template <class T, class S = typename Lanes<T>::Scalar>
Operand<S> operand(const S* in, int64_t rows, int64_t width, S* panel) {
  if (width % Lanes<T>::count == 0) return {in, width};
  gather_rows(in, width, rows, width, S(1), panel, padded<T>(width));
  return {panel, padded<T>(width)};
}
template <class T>
Operand<float> operand(const Bf16* in, int64_t rows, int64_t width, float* panel) {
  gather_rows(in, width, rows, width, 1.0f, panel, padded<T>(width));
  return {panel, padded<T>(width)};
}

struct Run {
  int64_t first, count;  // rows of one text
  bool tiled;            // see attend_tiled
};

// Whether and how a text's rows are taken in tiles: not at all, but for bfloat16 in the file that includes them.
template <class T>
struct Tiling {
  struct Scratch {
    Scratch(const Layout<T>&, bool) {}
  };
  static bool takes(const Layout<T>&, int64_t) { return false; }
  static int64_t most_rows(const Layout<T>&) { return 1; }
  static void attend(const Layout<T>&, const PagedInputs&, const T*, const T*, const Run&, int64_t, Scratch&, T*) {}
};
#ifdef BRAID_TILES
#include "kernels/cpu_tiles.inl"
#include "kernels/paged_attention_tiles.inl"
#endif

template <class T>
void score_blocks(const Layout<T>& s, const PagedInputs& in, const T* keys, int64_t table, int64_t kv_head,
                  int64_t rows, int64_t seen, Scratch<T>& m) {
  for (int64_t begin = 0; begin < seen; begin += s.block_tokens) {
    const auto block = operand<T>(keys + s.block_of(in, table, begin, kv_head), s.width, s.block_tokens, m.keys);
    small_product<false, T>({m.query, s.columns, 1}, block.data, block.row, m.scores + begin, s.score_row, rows,
                            s.width, s.block_columns);
  }
}

template <class T>
void add_values(const Layout<T>& s, const PagedInputs& in, const T* values, int64_t table, int64_t kv_head,
                int64_t rows, int64_t seen, Scratch<T>& m) {
  using S = typename Lanes<T>::Scalar;
  __builtin_memset(static_cast<void*>(m.row), 0, size_t(rows * s.columns) * sizeof(S));
  for (int64_t begin = 0; begin < seen; begin += s.block_tokens) {
    const int64_t tokens = seen - begin < s.block_tokens ? seen - begin : s.block_tokens;
    const auto block = operand<T>(values + s.block_of(in, table, begin, kv_head), tokens, s.width, m.values);
    small_product<true, T>({m.scores + begin, s.score_row, 1}, block.data, block.row, m.row, s.columns, rows, tokens,
                           s.columns);
  }
}

template <class T>
void attend_run(const Layout<T>& s, const PagedInputs& in, const T* keys, const T* values, Run run, int64_t kv_head,
                Scratch<T>& m, T* out) {
  using S = typename Lanes<T>::Scalar;
  const PagedRow* const rows = in.rows + run.first;
  const int64_t first_head = kv_head * s.group * s.width, queries = run.count * s.group;
  int64_t seen = 0;
  for (int64_t r = 0; r < run.count; ++r) {
    seen = rows[r].position >= seen ? rows[r].position + 1 : seen;
    gather_rows(static_cast<const T*>(in.packed) + (run.first + r) * s.in_row + first_head, s.width, s.group, s.width,
                s.scale, m.query + r * s.group * s.columns, s.columns);
  }
  score_blocks(s, in, keys, rows->table, kv_head, queries, seen, m);
  for (int64_t q = 0; q < queries; ++q) {
    softmax_row<T>(m.scores + q * s.score_row, rows[q / s.group].position + 1, padded<T>(seen));
  }
  add_values(s, in, values, rows->table, kv_head, queries, seen, m);
  for (int64_t r = 0; r < run.count; ++r) {
    scatter_rows(m.row + r * s.group * s.columns, s.columns, s.group, s.width, S(1),
                 out + (run.first + r) * s.out_row + first_head, s.width);
  }
}

// Rows of a text from `first` on that follow one another.
int64_t rows_of_text(const PagedInputs& in, int64_t rows, int64_t first) {
  int64_t end = first + 1;
  while (end < rows && in.rows[end].table == in.rows[first].table) ++end;
  return end - first;
}

// Rows of one text that are taken together: how many such runs there are, and whether any is in tiles.
struct RunCount {
  int64_t runs = 0;
  bool tiled = false;
};

template <class T>
RunCount find_runs(const Layout<T>& s, const PagedInputs& in, Run* runs) {
  RunCount found;
  for (int64_t first = 0; first < s.rows;) {
    const int64_t end = first + rows_of_text(in, s.rows, first);
    const bool tiled = Tiling<T>::takes(s, end - first);
    const int64_t most = tiled ? Tiling<T>::most_rows(s) : s.most_rows();
    for (; first < end; first += most) runs[found.runs++] = {first, end - first < most ? end - first : most, tiled};
    first = end;
    found.tiled |= tiled;
  }
  return found;
}

// What a thread has for runs of either kind, where there are any.
template <class T>
struct Memory {
  Scratch<T> plain;
  typename Tiling<T>::Scratch tiles;

  Memory(const Layout<T>& s, bool tiled) : plain(s), tiles(s, tiled) {}
};

template <class T>
void attend_item(const Layout<T>& s, const PagedInputs& in, const void* keys, const void* values, const Run* runs,
                 int64_t item, Memory<T>& m, void* out) {
  const Run& run = runs[item / s.key_value_heads];
  const int64_t kv_head = item % s.key_value_heads;
  const T *const k = static_cast<const T*>(keys), *const v = static_cast<const T*>(values);
  if (run.tiled) Tiling<T>::attend(s, in, k, v, run, kv_head, m.tiles, static_cast<T*>(out));
  else attend_run(s, in, k, v, run, kv_head, m.plain, static_cast<T*>(out));
}

template <class T>
void part_typed(const PagedShape& shape, const PagedInputs& in, const void* keys, const void* values, void* out,
                int64_t thread, int64_t threads) {
  const Layout<T> s(shape);
  const ZeroedArray<Run> runs(s.rows);
  const RunCount found = find_runs(s, in, &runs[0]);
  const int64_t items = found.runs * s.key_value_heads;
  if (thread >= items) return;
  Memory<T> m(s, found.tiled);
  for (int64_t item = thread; item < items; item += threads) attend_item(s, in, keys, values, &runs[0], item, m, out);
}

template <class T>
void attention_typed(const PagedShape& shape, const PagedInputs& in, const void* keys, const void* values, void* out) {
  const Layout<T> s(shape);
  const ZeroedArray<Run> runs(s.rows);
  const RunCount found = find_runs(s, in, &runs[0]);
#pragma omp parallel
  {
    Memory<T> m(s, found.tiled);
#pragma omp for schedule(dynamic)
    for (int64_t item = 0; item < found.runs * s.key_value_heads; ++item) {
      attend_item(s, in, keys, values, &runs[0], item, m, out);
    }
  }
}

template <class T>
void store_typed(const PagedShape& shape, const PagedInputs& in, void* keys_any, void* values_any) {
  const Layout<T> s(shape);
  T *const keys = static_cast<T*>(keys_any), *const values = static_cast<T*>(values_any);
  for (int64_t r = 0; r < s.rows; ++r) {
    const PagedRow& row = in.rows[r];
    const int64_t token = row.position % s.block_tokens;
    for (int64_t h = 0; h < s.key_value_heads; ++h) {
      const T* const key = static_cast<const T*>(in.packed) + r * s.in_row + (s.heads + h) * s.width;
      const T* const value = key + s.key_value_heads * s.width;
      const int64_t at = s.block_of(in, row.table, row.position, h);
      for (int64_t c = 0; c < s.width; ++c) keys[at + c * s.block_tokens + token] = key[c];
      __builtin_memcpy(static_cast<void*>(values + at + token * s.width), value, size_t(s.width) * sizeof(T));
    }
  }
}

void store_any(const PagedShape& s, Element element, const PagedInputs& in, void* keys, void* values) {
  switch (element) {
    case Element::float32: return store_typed<float>(s, in, keys, values);
    case Element::bfloat16: return store_typed<Bf16>(s, in, keys, values);
    case Element::float64: return store_typed<double>(s, in, keys, values);
  }
}

void attention_any(const PagedShape& s, Element element, const PagedInputs& in, const void* keys, const void* values,
                   void* out) {
  switch (element) {
    case Element::float32: return attention_typed<float>(s, in, keys, values, out);
    case Element::bfloat16: return attention_typed<Bf16>(s, in, keys, values, out);
    case Element::float64: return attention_typed<double>(s, in, keys, values, out);
  }
}

void part_any(const PagedShape& s, Element element, const PagedInputs& in, const void* keys, const void* values, void* out,
              int64_t thread, int64_t threads) {
  switch (element) {
    case Element::float32: return part_typed<float>(s, in, keys, values, out, thread, threads);
    case Element::bfloat16: return part_typed<Bf16>(s, in, keys, values, out, thread, threads);
    case Element::float64: return part_typed<double>(s, in, keys, values, out, thread, threads);
  }
}

}  // namespace

const PagedKernels paged = {store_any, attention_any, part_any};

}  // namespace braid::kernels::BRAID_LEVEL
