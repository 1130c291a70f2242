// SPDX-License-Identifier: Apache-2.0
// Attention over a pool of blocks against the plain formula in double: texts of different lengths whose blocks lie
// anywhere, several rows of one text at once, shared key heads, slots that nobody has written; the CUDA twin by the
// same body.
#include "kernels/paged_attention.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "kernels/cpu_level.h"
#include "support.h"

namespace braid::kernels {
namespace {

using namespace test;

constexpr double unwritten = std::numeric_limits<double>::quiet_NaN();

struct Sizes {
  int64_t heads, key_value_heads, width, block_tokens;
  std::vector<int64_t> before, rows;  // of each text: tokens in the pool, tokens of this step behind them
};

struct Problem {
  PagedShape shape{};
  std::vector<PagedRow> rows;
  std::vector<int64_t> tables;
  Numbers packed, keys, values;                 // keys and values as kernels have them
  std::vector<Numbers> text_keys, text_values;  // [text][token, H_kv, d], those of the step included
};

size_t key_at(const PagedShape& s, int64_t block, int64_t h, int64_t c, int64_t token) {
  return size_t(((block * s.key_value_heads + h) * s.width + c) * s.block_tokens + token);
}
size_t value_at(const PagedShape& s, int64_t block, int64_t h, int64_t c, int64_t token) {
  return size_t(((block * s.key_value_heads + h) * s.block_tokens + token) * s.width + c);
}
size_t text_at(const PagedShape& s, int64_t token, int64_t h, int64_t c) {
  return size_t((token * s.key_value_heads + h) * s.width + c);
}
size_t packed_at(const PagedShape& s, int64_t row, int64_t slot, int64_t c) {
  return size_t((row * (s.heads + 2 * s.key_value_heads) + slot) * s.width + c);
}

PagedShape shape_of(const Sizes& sizes) {
  PagedShape s{0, sizes.heads, sizes.key_value_heads, sizes.width, sizes.block_tokens, 0, 0};
  for (size_t t = 0; t < sizes.rows.size(); ++t) {
    s.rows += sizes.rows[t];
    s.longest = std::max(s.longest, sizes.before[t] + sizes.rows[t]);
  }
  s.table_width = (s.longest + s.block_tokens - 1) / s.block_tokens + 1;  // one more than any row needs
  return s;
}

void place_text(Problem& p, int64_t text, int64_t before) {
  for (int64_t token = 0; token < before; ++token) {
    const int64_t block = p.tables[size_t(text * p.shape.table_width + token / p.shape.block_tokens)];
    for (int64_t h = 0; h < p.shape.key_value_heads; ++h) {
      for (int64_t c = 0; c < p.shape.width; ++c) {
        const int64_t slot = token % p.shape.block_tokens;
        p.keys[key_at(p.shape, block, h, c, slot)] = p.text_keys[size_t(text)][text_at(p.shape, token, h, c)];
        p.values[value_at(p.shape, block, h, c, slot)] = p.text_values[size_t(text)][text_at(p.shape, token, h, c)];
      }
    }
  }
}

void add_row(Problem& p, int64_t text, int64_t position) {
  const auto row = int64_t(p.rows.size());
  p.rows.push_back({text, position});
  for (int64_t h = 0; h < p.shape.key_value_heads; ++h) {
    for (int64_t c = 0; c < p.shape.width; ++c) {
      const size_t from = text_at(p.shape, position, h, c);
      p.packed[packed_at(p.shape, row, p.shape.heads + h, c)] = p.text_keys[size_t(text)][from];
      p.packed[packed_at(p.shape, row, p.shape.heads + p.shape.key_value_heads + h, c)] =
          p.text_values[size_t(text)][from];
    }
  }
}

template <class E>
Problem random_problem(const Sizes& sizes, double deviation, Random& random) {
  Problem p;
  p.shape = shape_of(sizes);
  const auto texts = int64_t(sizes.rows.size()), blocks = texts * p.shape.table_width;
  p.tables.resize(size_t(blocks));
  std::iota(p.tables.begin(), p.tables.end(), 0);
  for (size_t i = p.tables.size(); i > 1; --i) std::swap(p.tables[i - 1], p.tables[size_t(random.below(int64_t(i)))]);
  p.packed =
      rounded<E>(random.normal(p.shape.rows * (sizes.heads + 2 * sizes.key_value_heads) * sizes.width, deviation));
  p.keys = p.values = Numbers(size_t(blocks * sizes.key_value_heads * sizes.width * sizes.block_tokens), unwritten);
  for (int64_t text = 0; text < texts; ++text) {
    const int64_t before = sizes.before[size_t(text)], tokens = before + sizes.rows[size_t(text)];
    p.text_keys.push_back(rounded<E>(random.normal(tokens * sizes.key_value_heads * sizes.width, deviation)));
    p.text_values.push_back(rounded<E>(random.normal(tokens * sizes.key_value_heads * sizes.width, deviation)));
    place_text(p, text, before);
    for (int64_t position = before; position < tokens; ++position) add_row(p, text, position);
  }
  return p;
}

Numbers plain(const Problem& p) {
  const PagedShape& s = p.shape;
  Numbers out(size_t(s.rows * s.heads * s.width));
  for (int64_t r = 0; r < s.rows; ++r) {
    const auto& [text, position] = p.rows[size_t(r)];
    const Numbers &keys = p.text_keys[size_t(text)], &values = p.text_values[size_t(text)];
    for (int64_t h = 0; h < s.heads; ++h) {
      const int64_t shared = h / (s.heads / s.key_value_heads);
      Numbers scores(size_t(position + 1));
      for (int64_t j = 0; j <= position; ++j) {
        for (int64_t c = 0; c < s.width; ++c) {
          scores[size_t(j)] +=
              p.packed[packed_at(s, r, h, c)] * keys[text_at(s, j, shared, c)] / std::sqrt(double(s.width));
        }
      }
      const double most = *std::max_element(scores.begin(), scores.end());
      double sum = 0;
      for (double& score : scores) sum += score = std::exp(score - most);
      for (int64_t j = 0; j <= position; ++j) {
        for (int64_t c = 0; c < s.width; ++c) {
          out[size_t((r * s.heads + h) * s.width + c)] += scores[size_t(j)] / sum * values[text_at(s, j, shared, c)];
        }
      }
    }
  }
  return out;
}

struct Result {
  Numbers out, keys, values;
};

template <class E>
Result kernel(Place place, const Problem& p) {
  Placed packed(place, stored<E>(p.packed)), keys(place, stored<E>(p.keys)), values(place, stored<E>(p.values));
  Placed rows(place, p.rows);
  Placed tables(place, p.tables);
  Placed out(place, stored<E>(Numbers(size_t(p.shape.rows * p.shape.heads * p.shape.width), unwritten)));
  Placed scratch(place, std::vector<char>(size_t(paged_scratch_bytes({place}, p.shape, E::element))));
  const PagedInputs in{packed.data(), rows.data(), tables.data()};
  store_paged({place}, p.shape, E::element, in, keys.data(), values.data());
  paged_attention({place}, p.shape, E::element, in, keys.data(), values.data(), out.data(), scratch.data());
  return {seen<E>(out.values()), seen<E>(keys.values()), seen<E>(values.values())};
}

const std::vector<Sizes> all_sizes = {
    {1, 1, 1, 1, {0}, {1}},
    {4, 2, 5, 3, {7, 0, 12}, {1, 9, 1}},
    {3, 1, 24, 5, {0, 33, 2}, {40, 1, 5}},
    {4, 4, 64, 16, {100, 15, 16, 0}, {1, 1, 1, 37}},
    {8, 2, 16, 16, {255, 256, 700, 1000}, {1, 1, 3, 1}},
};

// Pieces of prompts, which tiles suit, beside new tokens and a piece that is too short: key heads of one query head and of
// many, widths and blocks of one tile and of more, rows that are no whole number of tiles.
const std::vector<Sizes> prompt_sizes = {
    {2, 2, 32, 16, {0, 5, 63}, {16, 1, 33}},
    {8, 1, 64, 32, {0, 100}, {77, 40}},
    {6, 2, 96, 16, {501, 7, 0}, {300, 15, 40}},
};

// Sums of up to a thousand weighted values of size `deviation`, and the rounding of scores and of what is stored.
template <class E>
void expect_formula(Place place, const std::vector<Sizes>& several = all_sizes) {
  Random random;
  for (const Sizes& sizes : several) {
    for (const double deviation : {1.0, 3.0}) {
      SCOPED_TRACE(str("d ", sizes.width, " blocks of ", sizes.block_tokens, " deviation ", deviation));
      const Problem p = random_problem<E>(sizes, deviation, random);
      const Numbers expected = plain(p);
      const double noise = 1024 * E::operation * deviation * deviation * deviation;
      Numbers bound;
      for (const double x : expected) bound.push_back(2 * E::storage * std::abs(x) + noise);
      ASSERT_NO_FATAL_FAILURE(expect_near(kernel<E>(place, p).out, expected, bound, "out"));
    }
  }
}

TEST(PagedAttention, FollowsTheFormulaInFloat32AtEveryInstructionSet) {
  at_every_level([] { expect_formula<Float32>(Place::cpu); });
}
TEST(PagedAttention, FollowsTheFormulaInBFloat16AtEveryInstructionSet) {
  at_every_level([] { expect_formula<BFloat16>(Place::cpu); });
}
TEST(PagedAttention, FollowsTheFormulaInFloat64AtEveryInstructionSet) {
  at_every_level([] { expect_formula<Float64>(Place::cpu); });
}
TEST(PagedAttention, FollowsTheFormulaOverPiecesOfPromptsInTiles) {
  if (!has_tiles()) GTEST_SKIP() << "this processor has no AMX";
  expect_formula<BFloat16>(Place::cpu, prompt_sizes);
  expect_formula<BFloat16>(Place::cpu);
}
TEST(PagedAttentionGpu, FollowsTheFormulaInFloat32) {
  REQUIRE_DEVICE();
  expect_formula<Float32>(Place::cuda);
}
TEST(PagedAttentionGpu, FollowsTheFormulaInBFloat16) {
  REQUIRE_DEVICE();
  expect_formula<BFloat16>(Place::cuda);
}
TEST(PagedAttentionGpu, FollowsTheFormulaInFloat64) {
  REQUIRE_DEVICE();
  expect_formula<Float64>(Place::cuda);
}

// Each new key and value is in its slot, and every other slot is as it was.
template <class E>
void expect_stored(Place place) {
  Random random;
  Problem p = random_problem<E>({4, 2, 6, 4, {3, 0, 8}, {2, 5, 1}}, 1.0, random);
  const Result got = kernel<E>(place, p);
  for (int64_t text = 0; text < 3; ++text) place_text(p, text, int64_t(p.text_keys[size_t(text)].size()) / 12);
  const Numbers exactly(p.keys.size());
  expect_near(got.keys, p.keys, exactly, "keys");
  expect_near(got.values, p.values, exactly, "values");
}
TEST(PagedAttention, StoresKeysAndValuesInTheirSlotsAlone) {
  at_every_level([] {
    expect_stored<Float32>(Place::cpu);
    expect_stored<BFloat16>(Place::cpu);
  });
}
TEST(PagedAttentionGpu, StoresKeysAndValuesInTheirSlotsAlone) {
  REQUIRE_DEVICE();
  expect_stored<Float32>(Place::cuda);
  expect_stored<BFloat16>(Place::cuda);
}

// The rows of one text, by themselves.
Problem alone(const Problem& whole, int64_t text) {
  Problem p = whole;
  p.rows.clear();
  p.packed.clear();
  p.shape.longest = 0;
  for (size_t r = 0; r < whole.rows.size(); ++r) {
    if (whole.rows[r].table != text) continue;
    p.rows.push_back(whole.rows[r]);
    p.shape.longest = std::max(p.shape.longest, whole.rows[r].position + 1);
    const auto first = whole.packed.begin() + int64_t(packed_at(whole.shape, int64_t(r), 0, 0));
    p.packed.insert(p.packed.end(), first, first + int64_t(packed_at(whole.shape, 1, 0, 0)));
  }
  p.shape.rows = int64_t(p.rows.size());
  return p;
}

template <class E>
void expect_same_bits_alone(Place place, const Sizes& sizes = {4, 2, 32, 16, {300, 40, 0, 700}, {1, 1, 21, 1}}) {
  Random random;
  const Problem p = random_problem<E>(sizes, 1.0, random);
  const Numbers together = kernel<E>(place, p).out;
  size_t begin = 0;
  for (int64_t text = 0; text < 4; ++text) {
    const Numbers own = kernel<E>(place, alone(p, text)).out;
    ASSERT_TRUE(std::equal(own.begin(), own.end(), together.begin() + int64_t(begin))) << text;
    begin += own.size();
  }
  EXPECT_EQ(begin, together.size());
}
TEST(PagedAttention, ATextGetsTheSameBitsBesideOthers) {
  at_every_level([] { expect_same_bits_alone<Float32>(Place::cpu); });
}

// Pieces of two prompts and new tokens of two texts in bfloat16.
TEST(PagedAttention, ATextGetsTheSameBitsBesideOthersInTiles) {
  if (!has_tiles()) GTEST_SKIP() << "this processor has no AMX";
  expect_same_bits_alone<BFloat16>(Place::cpu, {4, 2, 32, 16, {300, 40, 0, 700}, {1, 70, 33, 1}});
}

// A row of a prompt's piece has the bits that it has where the piece is cut elsewhere.
TEST(PagedAttention, APieceOfAPromptHasTheSameBitsAsAWholeOneInTiles) {
  if (!has_tiles()) GTEST_SKIP() << "this processor has no AMX";
  Random random;
  const Problem whole = random_problem<BFloat16>({4, 2, 64, 16, {0}, {120}}, 1.0, random);
  Problem last = whole;  // its first 53 tokens are in the pool
  constexpr int64_t before = 53;
  last.shape.rows -= before;
  last.rows.erase(last.rows.begin(), last.rows.begin() + before);
  last.packed.erase(last.packed.begin(), last.packed.begin() + int64_t(packed_at(whole.shape, before, 0, 0)));
  place_text(last, 0, before);
  const Numbers all = kernel<BFloat16>(Place::cpu, whole).out, own = kernel<BFloat16>(Place::cpu, last).out;
  EXPECT_TRUE(std::equal(own.rbegin(), own.rend(), all.rbegin()));
}
TEST(PagedAttentionGpu, ATextGetsTheSameBitsBesideOthers) {
  REQUIRE_DEVICE();
  expect_same_bits_alone<Float32>(Place::cuda);
}

TEST(PagedAttention, IsTheSameBitsForEveryNumberOfThreads) {
  Random random;
  const Problem p = random_problem<Float32>({4, 2, 32, 16, {300, 40, 0}, {1, 1, 60}}, 1.0, random);
  Numbers of_one;
  with_threads(1, [&] { of_one = kernel<Float32>(Place::cpu, p).out; });
  for (const int threads : {2, 3}) {
    with_threads(threads, [&] { EXPECT_EQ(kernel<Float32>(Place::cpu, p).out, of_one); });
  }
}

// A text whose own numbers are not finite has results that are not, and spoils nobody's.
void expect_nan_stays(Place place) {
  Random random;
  Problem p = random_problem<Float32>({2, 1, 8, 4, {9, 9}, {1, 1}}, 1.0, random);
  const Numbers sound = kernel<Float32>(place, p).out;
  p.packed[packed_at(p.shape, 0, 0, 3)] = std::nan("");
  p.packed[packed_at(p.shape, 0, 1, 3)] = std::nan("");
  const Numbers got = kernel<Float32>(place, p).out;
  for (size_t i = 0; i < 16; ++i) EXPECT_TRUE(std::isnan(got[i])) << i;
  for (size_t i = 16; i < 32; ++i) EXPECT_EQ(got[i], sound[i]) << i;
}
TEST(PagedAttention, NaNStaysInItsRow) {
  at_every_level([] { expect_nan_stays(Place::cpu); });
}
TEST(PagedAttentionGpu, NaNStaysInItsRow) {
  REQUIRE_DEVICE();
  expect_nan_stays(Place::cuda);
}

TEST(PagedAttention, ShapesThatCannotBeAreErrors) {
  const PagedInputs none{};
  EXPECT_THROW(paged_attention({}, {1, 3, 2, 4, 16, 1, 1}, Element::float32, none, nullptr, nullptr, nullptr, nullptr),
               Error);
  EXPECT_THROW(paged_attention({}, {1, 2, 2, 4, 16, 1, 17}, Element::float32, none, nullptr, nullptr, nullptr, nullptr),
               Error);
}

}  // namespace
}  // namespace braid::kernels
