// SPDX-License-Identifier: Apache-2.0
// Many rows of one text in bfloat16, as a prompt has them: 32 queries at a time against all that they see, in tiles. What a
// row gets is the same to the bit whatever rows are beside it: its scores are sums over d, its values sums over the text, each in
// one order. Probabilities are split into an upper and a lower bfloat16, so that as much of them counts as in float32.

constexpr int64_t least_tiled_rows = 16;  // fewer, as answers have, are taken as without tiles
constexpr int64_t queries_at_once = 2 * tile_rows, keys_at_once = 2 * tile_rows;

// A thread's memory: keys and values of one text's key head in pairs of rows, as tiles want the right side of a product;
// queries [run, d]; scores [32, keys], and as probabilities; what they give [32, d].
struct TileScratch {
  const int64_t keys, score_row, weight_row;  // keys a whole number of tiles; rows of an odd number of cache lines
  ZeroedArray<Bf16> key_pairs, value_pairs, queries, upper, lower;
  ZeroedArray<float> scores, sums;

  TileScratch(const PagedShape& s, int64_t longest, int64_t run_queries)
      : keys((longest + keys_at_once - 1) / keys_at_once * keys_at_once),
        score_row(keys | 16),
        weight_row(keys | 32),
        key_pairs(keys * s.width),
        value_pairs(keys * s.width),
        queries(run_queries * s.width),
        upper(queries_at_once * weight_row),
        lower(queries_at_once * weight_row),
        scores(queries_at_once * score_row),
        sums(queries_at_once * s.width) {}
};

constexpr __mmask16 all_lanes = 0xffff;  // GCC 12 warns of its own intrinsics without a mask

BRAID_INLINE __m512i widened(__m256i words) { return _mm512_maskz_cvtepu16_epi32(all_lanes, words); }
BRAID_INLINE WordLanes upper_words(__m256i words) { return (WordLanes)widened(words) << 16; }

// 16 words of two rows, one of each by turns; zeros for a row that is null.
BRAID_INLINE void interleave(const Bf16* even, const Bf16* odd, Bf16* out) {
  __m256i a, b = {};
  __builtin_memcpy(&a, even, sizeof a);
  if (odd) __builtin_memcpy(&b, odd, sizeof b);
  const WordLanes both = (WordLanes)widened(a) | upper_words(b);
  __builtin_memcpy((void*)out, &both, sizeof both);
}

// keys [d, tokens] of 16 tokens after 16 become tiles of 16 pairs of dimensions, those of 16 tokens one after another.
BRAID_INLINE void pair_keys(const Bf16* keys, int64_t width, int64_t block_tokens, Bf16* out) {
  for (int64_t c = 0; c < width; c += 2, out += tile_words) {
    interleave(keys + c * block_tokens, keys + (c + 1) * block_tokens, out);
  }
}

// Two tokens' values [d], the second null for none, become row `pair` of the tiles of 32 tokens, one for 16 dimensions.
BRAID_INLINE void pair_values(const Bf16* even, const Bf16* odd, int64_t width, int64_t pair, Bf16* out) {
  for (int64_t c = 0; c < width; c += tile_rows) {
    interleave(even + c, odd ? odd + c : nullptr, out + c * tile_words + pair * tile_words);
  }
}

void pair_text(const Layout<Bf16>& s, const PagedInputs& in, const Bf16* keys, const Bf16* values, int64_t table,
               int64_t kv_head, int64_t seen, const TileScratch& m) {
  for (int64_t t = 0; t < seen; t += tile_rows) {
    pair_keys(keys + s.block_of(in, table, t, kv_head) + t % s.block_tokens, s.width, s.block_tokens, &m.key_pairs[t * s.width]);
  }
  const auto value_of = [&](int64_t t) BRAID_LAMBDA {
    return t < seen ? values + s.block_of(in, table, t, kv_head) + t % s.block_tokens * s.width : nullptr;
  };
  for (int64_t t = 0; t < seen; t += 2) {
    const int64_t first = t / keys_at_once * keys_at_once;
    pair_values(value_of(t), value_of(t + 1), s.width, (t - first) / 2, &m.value_pairs[first * s.width]);
  }
  for (int64_t t = (seen + 1) / 2 * 2; t % keys_at_once != 0; t += 2) {  // weights there are 0, and so must values be a number
    const int64_t first = t / keys_at_once * keys_at_once;
    for (int64_t c = 0; c < s.width; c += tile_rows) {
      __builtin_memset((void*)&m.value_pairs[first * s.width + c * tile_words + (t - first) / 2 * tile_words], 0, 64);
    }
  }
}

// e^((x - most) scale) of x <= most, with factor = scale / ln 2 and shift = most factor; 2^r of |r| <= 1/2 by Lawson's
// iteration, within 1.1e-7 of its value.
BRAID_INLINE FloatLanes weight_of(FloatLanes x, float factor, float shift) {
  const FloatLanes lowest = FloatLanes{} - 200.0f, y = x * factor - shift, bounded = y < lowest ? lowest : y;  // 2^-200 is 0
  const FloatLanes n = (FloatLanes)_mm512_maskz_roundscale_ps(all_lanes, (__m512)bounded, _MM_FROUND_TO_NEAREST_INT);
  const FloatLanes r = bounded - n;
  FloatLanes p = r * 1.3264727e-3f + 9.6715127e-3f;
  p = p * r + 5.5507337e-2f;
  p = p * r + 2.4022242e-1f;
  p = p * r + 6.9314698e-1f;
  return (FloatLanes)_mm512_maskz_scalef_ps(all_lanes, (__m512)(p * r + 1.0f), (__m512)n);
}

BRAID_INLINE float largest_of(const float* row, int64_t count) {
  constexpr float lowest = -__builtin_inff();
  FloatLanes most = FloatLanes{} + lowest;
  for_columns<float>(count, [&](int64_t j, int64_t n) BRAID_LAMBDA {
    const FloatLanes x = load(row + j, n, lowest);
    most = x > most ? x : most;
  });
  float largest = most[0];
  for (int64_t lane = 1; lane < Lanes<float>::count; ++lane) largest = most[lane] > largest ? most[lane] : largest;
  return largest;
}

// Scores of one query, of which the first `visible` count, to weights in two parts, zeros up to `end`. Returns 1 / their sum.
float weigh_row(const float* row, int64_t visible, int64_t end, float scale, Bf16* upper, Bf16* lower) {
  const float factor = scale * 1.44269504088896341f, shift = largest_of(row, visible) * factor;
  FloatLanes sum = {};
  for_columns<float>(visible, [&](int64_t j, int64_t n) BRAID_LAMBDA {
    const FloatLanes weight = weight_of(load(row + j, n, -__builtin_inff()), factor, shift);
    const __m256i high = (__m256i)_mm512_cvtneps_pbh((__m512)weight);
    const __m256i low = (__m256i)_mm512_cvtneps_pbh((__m512)(weight - (FloatLanes)upper_words(high)));
    __builtin_memcpy((void*)(upper + j), &high, sizeof high);
    __builtin_memcpy((void*)(lower + j), &low, sizeof low);
    sum += weight;
  });
  const int64_t written = padded<float>(visible), rest = (end - written) * int64_t(sizeof(Bf16));
  __builtin_memset((void*)(upper + written), 0, size_t(rest));
  __builtin_memset((void*)(lower + written), 0, size_t(rest));
  return 1 / sum_lanes(sum);
}

// Up to 32 queries of a run, from `first` on, which see no more than `seen` tokens.
void attend_queries(const Layout<Bf16>& s, const PagedRow* rows, int64_t first, int64_t count, int64_t seen,
                    const TileScratch& m, Bf16* out) {
  const int64_t end = (seen + keys_at_once - 1) / keys_at_once * keys_at_once;
  for (int64_t t = 0; t < end; t += keys_at_once) {
    clear_sums();
    for (int64_t c = 0; c < s.width; c += tile_words) {
      add_tiles(&m.queries[first * s.width + c], s.width, &m.key_pairs[t * s.width + c * tile_rows], 2 * tile_rows * s.width);
    }
    store_sums(&m.scores[t], m.score_row);
  }
  float shares[queries_at_once];
  for (int64_t q = 0; q < count; ++q) {
    shares[q] = weigh_row(&m.scores[q * m.score_row], rows[(first + q) / s.group].position + 1, end, s.scale,
                          &m.upper[q * m.weight_row], &m.lower[q * m.weight_row]);
  }
  for (int64_t c = 0; c < s.width; c += tile_words) {
    clear_sums();
    for (int64_t t = 0; t < end; t += keys_at_once) {
      const Bf16* const values = &m.value_pairs[t * s.width + c * tile_words];
      add_tiles(&m.upper[t], m.weight_row, values, tile_bytes);
      add_tiles(&m.lower[t], m.weight_row, values, tile_bytes);
    }
    store_sums(&m.sums[c], s.width);
  }
  for (int64_t q = 0; q < count; ++q) {
    Bf16* const to = out + (first + q) / s.group * s.out_row + (first + q) % s.group * s.width;
    scatter_rows(&m.sums[q * s.width], s.width, 1, s.width, shares[q], to, s.width);
  }
}

// All rows of a run, of one text, for one key head; `out` where the first row's first head of the group lies.
void attend_tiled(const Layout<Bf16>& s, const PagedInputs& in, const Bf16* keys, const Bf16* values, const Run& run,
                  int64_t kv_head, const TileScratch& m, Bf16* out) {
  const Tiles tiles;
  const PagedRow* const rows = in.rows + run.first;
  const int64_t first_head = kv_head * s.group * s.width, queries = run.count * s.group;
  const auto seen_by = [&](int64_t first_row, int64_t end_row) BRAID_LAMBDA {
    int64_t seen = 0;
    for (int64_t r = first_row; r < end_row; ++r) seen = rows[r].position >= seen ? rows[r].position + 1 : seen;
    return seen;
  };
  pair_text(s, in, keys, values, rows->table, kv_head, seen_by(0, run.count), m);
  for (int64_t r = 0; r < run.count; ++r) {
    __builtin_memcpy((void*)&m.queries[r * s.group * s.width],
                     static_cast<const Bf16*>(in.packed) + (run.first + r) * s.in_row + first_head,
                     size_t(s.group * s.width) * sizeof(Bf16));
  }
  for (int64_t first = 0; first < queries; first += queries_at_once) {
    const int64_t count = queries - first < queries_at_once ? queries - first : queries_at_once;
    attend_queries(s, rows, first, count, seen_by(first / s.group, (first + count - 1) / s.group + 1), m,
                   out + run.first * s.out_row + first_head);
  }
}

template <>
struct Tiling<Bf16> {
  static bool takes(const Layout<Bf16>& s, int64_t rows) {
    return rows >= least_tiled_rows && s.width % tile_words == 0 && s.block_tokens % tile_rows == 0;
  }
  // So many that bringing a text's keys and values into pairs of rows costs little beside them.
  static int64_t most_rows(const Layout<Bf16>& s) { return s.group < 8 ? 256 / s.group : 32; }

  struct Scratch : TileScratch {
    Scratch(const Layout<Bf16>& s, bool used)
        : TileScratch(s, used ? s.longest : 0, (most_rows(s) * s.group + queries_at_once) * int64_t(used)) {}
  };
  static void attend(const Layout<Bf16>& s, const PagedInputs& in, const Bf16* keys, const Bf16* values, const Run& run,
                     int64_t kv_head, Scratch& m, Bf16* out) {
    attend_tiled(s, in, keys, values, run, kv_head, m, out);
  }
};
