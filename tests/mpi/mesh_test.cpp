// SPDX-License-Identifier: Apache-2.0
#include "comm/mesh.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "mpi_world.h"

namespace braid {
namespace {

using test::world;

int64_t sum_of(Communicator& comm, int64_t value) {
  comm.all_reduce({&value, 1, Dtype::int64}, ReduceOp::sum).wait();
  return value;
}

// A bit for each rank of the world says who is in a group.
int64_t members(Communicator& comm) { return sum_of(comm, int64_t{1} << world().rank()); }

TEST(Mesh, NeighboursHoldAModelTogetherAndRanksThatHoldTheSameShareBatches) {
  const int ranks = world().size(), rank = world().rank();
  for (int tensor = 1; tensor <= ranks; ++tensor) {
    if (ranks % tensor != 0) continue;
    const Mesh mesh({world().host(), world().data()}, tensor);
    int64_t neighbours = 0, same = 0;
    for (int other = 0; other < ranks; ++other) {
      if (other / tensor == rank / tensor) neighbours |= int64_t{1} << other;
      if (other % tensor == rank % tensor) same |= int64_t{1} << other;
    }
    EXPECT_EQ(members(mesh.tensor().host), neighbours);
    EXPECT_EQ(members(mesh.data().host), same);
    EXPECT_EQ(mesh.tensor().host.rank(), rank % tensor);
    EXPECT_EQ(mesh.data().host.rank(), rank / tensor);
    EXPECT_EQ(mesh.tensor_degree(), tensor);
    EXPECT_EQ(mesh.data_degree(), ranks / tensor);
  }
}

TEST(Mesh, AnAxisThatIsAllOfTheWorldNeedsNoGroupOfItsOwn) {
  const Mesh data({world().host(), world().data()}, 1), tensor({world().host(), world().data()}, world().size());
  EXPECT_EQ(&data.data().host, &world().host());
  EXPECT_EQ(&tensor.tensor().data, &world().data());
  EXPECT_EQ(mesh_text(data.data_degree(), data.tensor_degree()), str("data=", world().size()));
}

TEST(Mesh, RanksThatDoNotDivideAreRefused) {
  EXPECT_THROW(Mesh::check(world().size(), world().size() + 1), UsageError);
  EXPECT_THROW(Mesh::check(3, 2), UsageError);
  EXPECT_NO_THROW(Mesh::check(6, 3));
}

}  // namespace
}  // namespace braid
