// SPDX-License-Identifier: Apache-2.0
// Where attention on CPUs finds what it reads, and the memory of a thread. Included by attention_cpu.inl alone.

// Columns of scores that a block of queries reads: keys [first, seen), and what pads them up to `end`. `first` is at a whole vector.
struct Columns {
  int64_t first, seen, end;
  int64_t keys() const { return seen - first; }
  int64_t all() const { return end - first; }
};

// Strides and sizes of one call, in elements.
template <class T>
struct Layout : AttentionPart {
  using S = typename Lanes<T>::Scalar;
  AttentionRows dquery;  // where the gradient of the queries lies
  // Rows of scores and of a head, padded; an odd number of vectors, so that a column does not sit in one cache set.
  int64_t score_row = padded<T>(keys) | Lanes<T>::count, columns = padded<T>(width), group = heads / key_value_heads;
  S scale = S(1) / __builtin_sqrt(S(width));

  Layout(const AttentionPart& part, const AttentionRows& dquery) : AttentionPart(part), dquery(dquery) {}

  // Queries of a block: few enough to skip most of what is hidden, and for their scores to stay in cache.
  static constexpr int64_t largest_block = 32;
  int64_t block() const {
    const int64_t fitting = scores_in_cache / score_row / 8 * 8;
    return fitting > largest_block ? largest_block : fitting < 8 ? 8 : fitting;
  }
  int64_t seen(int64_t query) const { return causal ? query + 1 : keys; }  // keys by this query and those before
  int64_t unseen(int64_t sample, int64_t query) const { return from ? from[sample * queries + query] : 0; }  // keys before those
  Columns columns_of(int64_t sample, int64_t first, int64_t rows) const {
    const int64_t last = seen(first + rows - 1);
    int64_t lowest = from ? last : 0;
    for (int64_t r = 0; r < rows; ++r) lowest = unseen(sample, first + r) < lowest ? unseen(sample, first + r) : lowest;
    return {lowest == last ? last : lowest / Lanes<T>::count * Lanes<T>::count, last, padded<T>(last)};
  }
  int64_t key_head(int64_t sample, int64_t kv_head) const { return sample * key.sample + kv_head * width; }
  int64_t values_behind() const { return key_value_heads * width; }  // elements from a key to its value
  static int64_t at(const AttentionRows& rows, int64_t sample, int64_t token, int64_t in_token) {
    return sample * rows.sample + token * rows.token + in_token;
  }
};

// A thread's memory, reused for each head.
template <class T>
struct Scratch {
  using S = typename Lanes<T>::Scalar;
  ZeroedArray<S> memory;
  S *keys, *keys_t, *values, *values_t = nullptr;                  // [keys, d], [d, keys]
  S *dkeys = nullptr, *dvalues = nullptr;                          // [keys, d]
  S *query, *row, *drow = nullptr, *scores, *dscores = nullptr;    // [block, d] and [block, keys]

  Scratch(const Layout<T>& s, bool backward)
      : memory(s.score_row * s.columns * (backward ? 6 : 3) + s.block() * (s.columns + s.score_row) * 3 + Lanes<T>::count) {
    // At a multiple of a vector, so that no load crosses a cache line.
    S* next = reinterpret_cast<S*>((reinterpret_cast<uintptr_t>(&memory[0]) + vector_bytes - 1) & -vector_bytes);
    const auto take = [&](int64_t count) {
      S* here = next;
      next += count;
      return here;
    };
    const int64_t head = s.score_row * s.columns, block = s.block() * s.columns, rows = s.block() * s.score_row;
    keys = take(head), keys_t = take(head), values = take(head);
    query = take(block), row = take(block), scores = take(rows);
    if (!backward) return;
    values_t = take(head), dkeys = take(head), dvalues = take(head);
    drow = take(block), dscores = take(rows);
  }
};
