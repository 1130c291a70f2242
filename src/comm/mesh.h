// SPDX-License-Identifier: Apache-2.0
// How the ranks of a run are arranged: a grid whose axes are, outermost first, pipeline, data, context and tensor. Ranks along
// the tensor axis are neighbours in the world, and so, as ranks are dealt out, of one host; stages of a pipeline, which say
// least to each other, are farthest apart.
#pragma once

#include <memory>
#include <string>

#include "comm/communicator.h"

namespace braid {

// Communicators of the same ranks.
struct RankGroup {
  Communicator& host;  // CPU memory
  Communicator& data;  // the device's memory
};

// How many ranks hold one copy of the model between them, along each axis.
struct MeshShape {
  int64_t pipeline = 1;  // stages, each some of the blocks
  int64_t context = 1;   // parts of every sample's tokens
  int64_t tensor = 1;    // parts of every block
  int64_t ranks() const { return pipeline * context * tensor; }
  int64_t data(int64_t world) const { return world / ranks(); }  // copies
};

// Where a rank is along each axis.
struct MeshPlace {
  int pipeline = 0, data = 0, context = 0, tensor = 0;
};
MeshPlace place_in(const MeshShape& shape, int rank, int ranks);

class Mesh {
 public:
  // Makes the groups, once; where a degree is 1 there is nothing to make. `world` must outlive it. Ranks that do not divide:
  // see check. Collective.
  Mesh(RankGroup world, const MeshShape& shape);
  static void check(int ranks, const MeshShape& shape);  // UsageError unless so many can be arranged

  const RankGroup& world() const { return world_; }
  const MeshShape& shape() const { return shape_; }
  const MeshPlace& place() const { return place_; }
  int data_degree() const { return static_cast<int>(shape_.data(world_.host.size())); }

  // The ranks that hold the same part of the model: gradients are summed over them. Data and context axis together.
  RankGroup replicas() const { return replicas_.group(world_); }
  // Of those the ranks that share each batch, and those that share each sample.
  RankGroup data() const { return data_.group(world_); }
  RankGroup context() const { return context_.group(world_); }
  // The ranks that hold one stage between them, and the stages of one copy; they see the same samples.
  RankGroup tensor() const { return tensor_.group(world_); }
  RankGroup pipeline() const { return pipeline_.group(world_); }

 private:
  // Null where the group is all of the world; `data` also where `host` carries both.
  struct Axis {
    std::unique_ptr<Communicator> host, data;
    RankGroup group(const RankGroup& world) const;
  };
  // The ranks that are where this one is but along the axes named, `ranks` of them.
  Axis split(MeshPlace others, int64_t ranks);

  RankGroup world_;
  MeshShape shape_;
  MeshPlace place_;
  Axis replicas_, data_, context_, tensor_, pipeline_;
};

// "data=2", "pipeline=2 data=2 tensor=4": the degrees other than 1, and always that of data.
std::string mesh_text(int64_t data, const MeshShape& shape);

}  // namespace braid
