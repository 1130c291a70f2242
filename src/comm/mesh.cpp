// SPDX-License-Identifier: Apache-2.0
#include "comm/mesh.h"

#include "base/error.h"

namespace braid {

namespace {

int rank_at(const MeshPlace& place, const MeshShape& shape, int64_t data) {
  return static_cast<int>(((place.pipeline * data + place.data) * shape.context + place.context) * shape.tensor + place.tensor);
}

}  // namespace

MeshPlace place_in(const MeshShape& shape, int rank, int ranks) {
  const auto data = static_cast<int>(shape.data(ranks));
  const auto context = static_cast<int>(shape.context), tensor = static_cast<int>(shape.tensor);
  return {rank / (data * context * tensor), rank / (context * tensor) % data, rank / tensor % context, rank % tensor};
}

RankGroup Mesh::Axis::group(const RankGroup& world) const {
  if (!host) return world;
  return {*host, data ? *data : *host};
}

// Of one or all ranks, which need no messages to meet. The lowest rank of a group names it.
Mesh::Axis Mesh::split(MeshPlace lowest, int64_t ranks) {
  Axis axis;
  if (ranks == world_.host.size()) return axis;
  const bool both = &world_.host != &world_.data;
  const int colour = rank_at(lowest, shape_, data_degree());
  const auto part = [&](Communicator& comm) { return ranks == 1 ? make_single_communicator() : comm.split(colour, comm.rank()); };
  axis.host = part(world_.host);
  if (both) axis.data = part(world_.data);
  return axis;
}

void Mesh::check(int ranks, const MeshShape& shape) {
  if (shape.ranks() >= 1 && ranks % shape.ranks() == 0) return;
  const char* keys = shape.ranks() == shape.tensor ? "parallel.tensor" : "parallel.pipeline, context and tensor";
  throw UsageError(str(keys, ": ", shape.ranks(), " ranks hold one copy of the model between them; expected a multiple of ",
                       shape.ranks(), " ranks, found ", ranks));
}

Mesh::Mesh(RankGroup world, const MeshShape& shape) : world_(world), shape_(shape) {
  const int ranks = world.host.size();
  check(ranks, shape);
  place_ = place_in(shape, world.host.rank(), ranks);
  const MeshPlace& p = place_;
  replicas_ = split({p.pipeline, 0, 0, p.tensor}, data_degree() * shape.context);
  data_ = split({p.pipeline, 0, p.context, p.tensor}, data_degree());
  context_ = split({p.pipeline, p.data, 0, p.tensor}, shape.context);
  // Keys go round while gradients are summed over perhaps the same ranks: neither is to wait behind the other.
  if (shape.context > 1 && !context_.host) {
    context_.host = world.host.split(0, p.context);
    if (&world.host != &world.data) context_.data = world.data.split(0, p.context);
  }
  tensor_ = split({p.pipeline, p.data, p.context, 0}, shape.tensor);
  pipeline_ = split({0, p.data, p.context, p.tensor}, shape.pipeline);
}

std::string mesh_text(int64_t data, const MeshShape& shape) {
  const auto degree = [](const char* name, int64_t ranks) { return ranks == 1 ? "" : str(name, "=", ranks); };
  std::string text;
  for (const std::string& part : {degree("pipeline", shape.pipeline), str("data=", data), degree("context", shape.context),
                                  degree("tensor", shape.tensor)}) {
    if (!part.empty()) text += (text.empty() ? "" : " ") + part;
  }
  return text;
}

}  // namespace braid
