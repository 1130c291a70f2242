// SPDX-License-Identifier: Apache-2.0
#include "comm/mesh.h"

#include "base/error.h"

namespace braid {

RankGroup Mesh::Axis::group(const RankGroup& world) const {
  if (!host) return world;
  return {*host, data ? *data : *host};
}

// Of `ranks` ranks; one or all of them need no messages to meet.
Mesh::Axis Mesh::split(int colour, int ranks) {
  Axis axis;
  if (ranks == world_.host.size()) return axis;
  const bool both = &world_.host != &world_.data;
  const auto part = [&](Communicator& comm) { return ranks == 1 ? make_single_communicator() : comm.split(colour, comm.rank()); };
  axis.host = part(world_.host);
  if (both) axis.data = part(world_.data);
  return axis;
}

void Mesh::check(int ranks, int64_t tensor) {
  if (tensor >= 1 && ranks % tensor == 0) return;
  throw UsageError(str("parallel.tensor: ", tensor, " ranks hold one copy of the model between them; expected a multiple of ",
                       tensor, " ranks, found ", ranks));
}

Mesh::Mesh(RankGroup world, int64_t tensor) : world_(world) {
  const int ranks = world.host.size();
  check(ranks, tensor);
  const int degree = static_cast<int>(tensor), rank = world.host.rank();
  data_ = split(rank % degree, ranks / degree);
  tensor_ = split(rank / degree, degree);
}

std::string mesh_text(int64_t data, int64_t tensor) {
  return tensor == 1 ? str("data=", data) : str("data=", data, " tensor=", tensor);
}

}  // namespace braid
