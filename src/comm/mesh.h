// SPDX-License-Identifier: Apache-2.0
// How the ranks of a run are arranged: a grid whose axes are, outermost first, data and tensor. Ranks along the tensor axis
// are neighbours in the world, and so, as ranks are dealt out, of one host.
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

class Mesh {
 public:
  // Every `tensor` ranks that follow each other hold one copy of the model between them. Makes the groups, once; where a
  // degree is 1 there is nothing to make. `world` must outlive it. Ranks that do not divide: see check. Collective.
  Mesh(RankGroup world, int64_t tensor);
  static void check(int ranks, int64_t tensor);  // UsageError unless so many can be arranged

  const RankGroup& world() const { return world_; }
  // The ranks that hold the same part of the model; they share each batch.
  RankGroup data() const { return data_.group(world_); }
  // The ranks that hold one model between them; they see the same samples.
  RankGroup tensor() const { return tensor_.group(world_); }
  int data_degree() const { return data().host.size(); }
  int tensor_degree() const { return tensor().host.size(); }

 private:
  // Null where the axis is all of the world; `data` also where `host` carries both.
  struct Axis {
    std::unique_ptr<Communicator> host, data;
    RankGroup group(const RankGroup& world) const;
  };
  Axis split(int colour, int ranks);

  RankGroup world_;
  Axis data_, tensor_;
};

// "data=2", "data=2 tensor=4".
std::string mesh_text(int64_t data, int64_t tensor);

}  // namespace braid
