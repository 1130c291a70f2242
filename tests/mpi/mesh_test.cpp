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
    const Mesh mesh({world().host(), world().data()}, {1, 1, tensor});
    int64_t neighbours = 0, same = 0;
    for (int other = 0; other < ranks; ++other) {
      if (other / tensor == rank / tensor) neighbours |= int64_t{1} << other;
      if (other % tensor == rank % tensor) same |= int64_t{1} << other;
    }
    EXPECT_EQ(members(mesh.tensor().host), neighbours);
    EXPECT_EQ(members(mesh.data().host), same);
    EXPECT_EQ(mesh.tensor().host.rank(), rank % tensor);
    EXPECT_EQ(mesh.data().host.rank(), rank / tensor);
    EXPECT_EQ(mesh.tensor().host.size(), tensor);
    EXPECT_EQ(mesh.data_degree(), ranks / tensor);
  }
}

TEST(Mesh, AxesThatAreComposedMeetInOneRankEach) {
  const int ranks = world().size();
  if (ranks != 4) GTEST_SKIP() << "four ranks have two axes of two";
  const std::vector<MeshShape> shapes = {{2, 1, 2}, {2, 2, 1}, {1, 2, 2}, {2, 1, 1}, {1, 2, 1}, {1, 1, 2}};
  for (const MeshShape& shape : shapes) {
    const Mesh mesh({world().host(), world().data()}, shape);
    SCOPED_TRACE(mesh_text(mesh.data_degree(), shape));
    int64_t along[5] = {};
    for (int other = 0; other < ranks; ++other) {
      const MeshPlace a = mesh.place(), b = place_in(shape, other, ranks);
      const bool pipeline = a.pipeline == b.pipeline, data = a.data == b.data, context = a.context == b.context,
                 tensor = a.tensor == b.tensor;
      const bool with[5] = {data && context && tensor, pipeline && context && tensor, pipeline && data && tensor,
                            pipeline && data && context, pipeline && tensor};
      for (int axis = 0; axis < 5; ++axis) along[axis] |= int64_t{with[axis]} << other;
    }
    EXPECT_EQ(members(mesh.pipeline().host), along[0]);
    EXPECT_EQ(members(mesh.data().host), along[1]);
    EXPECT_EQ(members(mesh.context().host), along[2]);
    EXPECT_EQ(members(mesh.tensor().host), along[3]);
    EXPECT_EQ(members(mesh.replicas().host), along[4]);
    EXPECT_EQ(mesh.pipeline().host.rank(), mesh.place().pipeline);
    EXPECT_EQ(mesh.context().host.rank(), mesh.place().context);
  }
}

TEST(Mesh, AnAxisThatIsAllOfTheWorldNeedsNoGroupOfItsOwn) {
  const Mesh data({world().host(), world().data()}, {}), tensor({world().host(), world().data()}, {1, 1, world().size()});
  EXPECT_EQ(&data.data().host, &world().host());
  EXPECT_EQ(&tensor.tensor().data, &world().data());
  EXPECT_EQ(mesh_text(data.data_degree(), {}), str("data=", world().size()));
}

TEST(Mesh, RanksThatDoNotDivideAreRefused) {
  EXPECT_THROW(Mesh::check(world().size(), {1, 1, world().size() + 1}), UsageError);
  EXPECT_THROW(Mesh::check(3, {1, 2, 1}), UsageError);
  EXPECT_NO_THROW(Mesh::check(6, {1, 1, 3}));
}

}  // namespace
}  // namespace braid
