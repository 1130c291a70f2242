// SPDX-License-Identifier: Apache-2.0
#include "parallel/gather_rows.h"

#include <gtest/gtest.h>

#include "mpi_world.h"
#include "nn/precompiled.h"

namespace braid {
namespace {

using test::world;

// 1 row, fewer than there are ranks, to 9, which do not divide by 2 or 4.
TEST(GatherRows, EveryRankHasAllAndGradientsOfAllRanksComeBack) {
  const int rank = world().rank(), ranks = world().size();
  for (const int64_t rows : {1, 2, 8, 9}) {
    const at::Tensor all = at::arange(rows * 3, at::kDouble).view({rows, 3});
    const at::Tensor mine = rows_of_rank(all, rank, ranks).requires_grad_(true);
    EXPECT_EQ(mine.size(0), (rows + ranks - 1) / ranks);
    const at::Tensor gathered = gather_rows(mine * 2, rows, world().host());
    EXPECT_TRUE(at::equal(gathered, all * 2));
    // Rank r weighs row i by (r + 1) (i + 1): the sum over ranks is that of 1..ranks.
    const at::Tensor weight = (at::arange(rows, at::kDouble) + 1).unsqueeze(1) * double(rank + 1);
    (gathered * weight).sum().backward();
    const int64_t first = rank * mine.size(0);
    for (int64_t i = 0; i < mine.size(0); ++i) {
      const double expected = first + i < rows ? 2.0 * double(first + i + 1) * ranks * (ranks + 1) / 2 : 0.0;
      EXPECT_EQ(mine.grad()[i][1].item<double>(), expected) << rows << " rows, row " << first + i;
    }
  }
}

}  // namespace
}  // namespace braid
