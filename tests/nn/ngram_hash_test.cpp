// SPDX-License-Identifier: Apache-2.0
#include "nn/ngram_hash.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <set>

#include "base/error.h"
#include "nn/block_input.h"
#include "nn/initialise.h"
#include "nn/precompiled.h"

namespace braid {
namespace {

HashMemoryConfig small_memory() {
  HashMemoryConfig config;
  config.layers = {0, 2};
  config.table_size = 20;
  config.width = 6;
  config.heads = 2;
  config.max_order = 3;
  return config;
}

at::Tensor ids_of(const std::vector<int64_t>& ids) {
  return at::tensor(at::ArrayRef<int64_t>(ids), at::kLong).unsqueeze(0);
}

at::Tensor rows_of(const NgramHash& hash, const at::Tensor& ids, const at::Tensor& segments = {}) {
  return hash.rows(hash.canonical(ids), tokens_of(ids, segments).reach);
}

TEST(HashMemoryModuli, ArePrimesFromTheTableSizeOnNoneTwice) {
  const std::vector<int64_t> expected = {23, 29, 31, 37, 41, 43, 47, 53};
  EXPECT_EQ(hash_memory_moduli(small_memory()), expected);
  EXPECT_EQ(hash_memory_rows(small_memory()), 304);
}

// Of tokens that are drawn evenly.
TEST(HashMemoryRows, AreNamedAsOftenAsExpected) {
  HashMemoryConfig config = small_memory();
  config.table_size = 2000;
  const int64_t vocabulary = 40, tokens = 3000;
  const NgramHash hash(config, distinct_tokens(vocabulary), 5, at::kCPU);
  const at::Tensor ids = at::randint(vocabulary, {tokens / 50, 50}, seeded_generator(3), at::TensorOptions(at::kLong));
  const at::Tensor rows = rows_of(hash, ids).permute({0, 3, 1, 2}).reshape({8, tokens});
  const std::vector<double> expected = expected_rows(config, vocabulary, tokens);
  for (int64_t table = 0; table < 8; ++table) {
    const double named = double(std::get<0>(at::_unique2(rows[table])).size(0));
    EXPECT_NEAR(named / expected[size_t(table)], 1, 0.04) << table;
  }
}

TEST(NgramHash, RowsAreTheXorOfProductsModuloTheHeadsPrime) {
  const NgramHash hash(small_memory(), distinct_tokens(11), 5, at::kCPU);
  const std::vector<int64_t> ids = {3, 10, 0, 7, 7};
  const at::Tensor rows = rows_of(hash, ids_of(ids));
  ASSERT_EQ(rows.sizes(), (std::vector<int64_t>{2, 1, 5, 4}));
  int64_t offset = 0;
  for (int64_t layer = 0; layer < 2; ++layer) {
    for (int64_t table = 0; table < 4; ++table) {
      const int64_t prime = hash_memory_moduli(small_memory())[layer * 4 + table];
      for (int64_t t = 0; t < 5; ++t) {
        int64_t mixed = 0;
        for (int64_t back = 0; back < 2 + table / 2; ++back) {
          const int64_t id = t >= back ? ids[t - back] : hash.pad();
          mixed ^= id * hash.multipliers()[layer][back].item<int64_t>();
        }
        EXPECT_EQ(rows[layer][0][t][table].item<int64_t>(), offset + mixed % prime) << layer << table << t;
      }
      offset += prime;
    }
  }
  EXPECT_EQ(hash.table_rows(), offset);
}

TEST(NgramHash, MultipliersAreOddDifferByLayerAndLeaveProductsWithinInt64) {
  HashMemoryConfig config = small_memory();
  config.layers = {0, 1, 2, 3};
  constexpr int64_t vocabulary = 128256;
  const NgramHash hash(config, distinct_tokens(vocabulary), 5, at::kCPU);
  std::set<int64_t> all;
  for (int64_t i = 0; i < 12; ++i) {
    const int64_t m = hash.multipliers().flatten()[i].item<int64_t>();
    EXPECT_EQ(m % 2, 1);
    EXPECT_LE(m, INT64_MAX / vocabulary);
    all.insert(m);
  }
  EXPECT_EQ(all.size(), 12u);
  EXPECT_GT(*all.rbegin(), INT64_MAX / vocabulary / 4);  // the range is used
}

TEST(NgramHash, DoesNotReachAcrossSegments) {
  const NgramHash hash(small_memory(), distinct_tokens(11), 5, at::kCPU);
  const at::Tensor packed = rows_of(hash, ids_of({3, 10, 4, 7, 7, 1}), ids_of({0, 0, 0, 1, 1, 2}));
  const at::Tensor parts =
      at::cat({rows_of(hash, ids_of({3, 10, 4})), rows_of(hash, ids_of({7, 7})), rows_of(hash, ids_of({1}))}, 2);
  EXPECT_TRUE(at::equal(packed, parts));
  EXPECT_FALSE(at::equal(packed, rows_of(hash, ids_of({3, 10, 4, 7, 7, 1}))));
}

TEST(NgramHash, GoesOnBehindATokenWhenATextComesInPieces) {
  const NgramHash hash(small_memory(), distinct_tokens(11), 5, at::kCPU);
  const at::Tensor ids = ids_of({3, 10, 4, 7, 7, 1}), whole = rows_of(hash, ids), reach = tokens_of(ids, {}).reach;
  for (int64_t first = 1; first < 6; ++first) {
    const int64_t past = std::min<int64_t>(first, 2);
    EXPECT_TRUE(
        at::equal(hash.rows(hash.canonical(ids.slice(1, first - past)), reach.slice(1, first)), whole.slice(2, first)));
  }
}

TEST(NgramHash, HeadsCollideApart) {
  const NgramHash hash(small_memory(), distinct_tokens(500), 5, at::kCPU);
  at::Tensor pairs = at::arange(500).view({500, 1}).expand({500, 2}).contiguous();
  pairs.select(1, 0).fill_(3);
  const at::Tensor rows = rows_of(hash, pairs).select(2, 1)[0];  // [500, tables]
  int64_t one = 0, both = 0;
  for (int64_t i = 1; i < 500; ++i) {
    const bool a = rows[i][0].equal(rows[0][0]), b = rows[i][1].equal(rows[0][1]);
    one += a;
    both += a && b;
  }
  EXPECT_GT(one, 10);
  EXPECT_LT(both, one / 4);
}

TEST(NgramHash, RefusesMultipliersThatOverflow) {
  const at::Tensor moduli = at::full({1, 2}, 23, at::kLong);
  EXPECT_THROW(NgramHash(distinct_tokens(11), at::full({1, 2}, INT64_MAX / 11, at::kLong), moduli), UsageError);
  EXPECT_NO_THROW(NgramHash(distinct_tokens(11), at::full({1, 2}, INT64_MAX / 12, at::kLong), moduli));
}

}  // namespace
}  // namespace braid
