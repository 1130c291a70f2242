// SPDX-License-Identifier: Apache-2.0
#include "parallel/sharded_rows.h"

#include <gtest/gtest.h>

#include "mpi_world.h"
#include "nn/precompiled.h"

namespace braid {
namespace {

using test::world;

constexpr int64_t all_rows = 23, width = 5;

// Row r, column c of the joint table.
double value_at(int64_t row, int64_t column) { return double(row) + 0.125 * double(column); }

class Rows : public testing::Test {
 protected:
  Rows() {
    const RowRange mine = row_range(all_rows, world().rank(), world().size());
    Parameter& table = set_.add("table", {all_rows, width});
    table.slice = {{mine.first, 0}, {mine.count, width}};
    set_.allocate(Precision::fp32, at::kCPU);
    for (int64_t r = 0; r < mine.count; ++r) {
      for (int64_t c = 0; c < width; ++c) table.master[r][c] = value_at(mine.first + r, c);
    }
  }
  static at::Tensor numbers(const std::vector<int64_t>& rows) {
    return at::tensor(at::ArrayRef<int64_t>(rows), at::kLong);
  }
  // What a rank asks for: nothing on the second, the rest overlap.
  static std::vector<int64_t> wanted(int rank) {
    if (rank == 1) return {};
    if (rank == 3) return {22};
    return rank == 0 ? std::vector<int64_t>{0, 3, 4, 11, 12, 22} : std::vector<int64_t>{3, 12, 13, 21, 22};
  }
  ParameterSet set_;
};

TEST(RowRanges, AreDisjointAndCoverTheTable) {
  for (const int ranks : {1, 2, 3, 7, 23}) {
    int64_t next = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      const RowRange range = row_range(all_rows, rank, ranks);
      EXPECT_EQ(range.first, next);
      EXPECT_GE(range.count, all_rows / ranks);
      next += range.count;
    }
    EXPECT_EQ(next, all_rows);
  }
}

TEST_F(Rows, EachRankGetsTheRowsThatItAsksFor) {
  ShardedRows store(set_.all().front(), world().host(), world().host());
  const std::vector<int64_t> rows = wanted(world().rank());
  const int64_t before = world().communicated_bytes();
  const at::Tensor found = store.fetch(numbers(rows));
  store.add_gradient(at::zeros_like(found));
  ASSERT_EQ(found.sizes(), (std::vector<int64_t>{int64_t(rows.size()), width}));
  const RowRange mine = row_range(all_rows, world().rank(), world().size());
  int64_t asking = 0;
  for (int rank = 0; rank < world().size(); ++rank) {
    for (const int64_t row : wanted(rank)) asking += row >= mine.first && row < mine.first + mine.count ? 1 : 0;
  }
  const bool alone = world().size() == 1;  // whose calls are not counted
  EXPECT_EQ(world().communicated_bytes() - before, alone ? 0 : row_traffic(int64_t(rows.size()), asking, width, world().size()));
  for (size_t i = 0; i < rows.size(); ++i) {
    for (int64_t c = 0; c < width; ++c) EXPECT_EQ(found[int64_t(i)][c].item<double>(), value_at(rows[i], c));
  }
}

TEST_F(Rows, GradientsOfAllRanksAreAddedWhereTheRowLies) {
  Parameter& table = set_.all().front();
  ShardedRows store(table, world().host(), world().host());
  for (int step = 0; step < 2; ++step) {  // the second adds to the first
    const at::Tensor found = store.fetch(numbers(wanted(world().rank())));
    store.add_gradient(at::full_like(found, world().rank() + 1));
  }
  const int64_t first = table.slice.origin[0];
  for (int64_t r = 0; r < table.slice.shape[0]; ++r) {
    double expected = 0;
    for (int rank = 0; rank < world().size(); ++rank) {
      for (const int64_t row : wanted(rank)) expected += row == first + r ? 2 * (rank + 1) : 0;
    }
    for (int64_t c = 0; c < width; ++c) EXPECT_EQ(table.gradient[r][c].item<double>(), expected) << first + r;
  }
}

// A sum in another order than that of the ranks would round to something else.
TEST_F(Rows, GradientsAreAddedInTheOrderOfTheRanks) {
  Parameter& table = set_.all().front();
  ShardedRows store(table, world().host(), world().host());
  store.fetch(numbers({7}));
  const std::vector<float> parts = {1e8f, 1.0f, -1e8f, 0.5f};
  store.add_gradient(at::full({1, width}, parts[size_t(world().rank())]));
  float expected = 0;
  for (int rank = 0; rank < world().size(); ++rank) expected += parts[size_t(rank)];
  const int64_t here = 7 - table.slice.origin[0];
  if (here >= 0 && here < table.slice.shape[0]) EXPECT_EQ(table.gradient[here][0].item<float>(), expected);
}

TEST_F(Rows, AStepInWhichNobodyNeedsARowPasses) {
  Parameter& table = set_.all().front();
  ShardedRows store(table, world().host(), world().host());
  EXPECT_EQ(store.fetch(numbers({})).size(0), 0);
  store.add_gradient(at::empty({0, width}));
  EXPECT_EQ(table.gradient.abs().max().item<double>(), 0);
}

}  // namespace
}  // namespace braid
