// SPDX-License-Identifier: Apache-2.0
// Data-parallel ranks in groups, each of which spreads one copy of a model's state over its ranks (hybrid sharding: Zhao et
// al., PyTorch FSDP, VLDB 2023, section 3.2.2): what is gathered and scattered stays within a group, a node say, and only the
// parts of gradients cross between groups.
#pragma once

#include <cstdint>
#include <memory>

#include "comm/mesh.h"

namespace braid {

class ShardGroups {
 public:
  // `ranks` neighbours of the replicas make a group; 0: all of them make one. Collective where there are several.
  ShardGroups(const RankGroup& replicas, int64_t ranks);
  static void check(int64_t replicas, int64_t ranks);  // UsageError unless groups of so many can be made

  const RankGroup& replicas() const { return replicas_; }
  RankGroup within() const { return within_.group(replicas_); }  // this rank's group
  Communicator* across() const { return across_.get(); }         // the ranks that have the same part; null where no other has
  int groups() const { return groups_; }
  int group() const { return replicas_.host.rank() / (replicas_.host.size() / groups_); }

 private:
  struct Pair {
    std::unique_ptr<Communicator> host, data;  // null where the group is all replicas; `data` also where `host` carries both
    RankGroup group(const RankGroup& all) const;
  };
  RankGroup replicas_;
  int groups_;
  Pair within_;
  std::unique_ptr<Communicator> across_;  // for the device's memory
};

// How many ranks spread a model's state between them.
int64_t shard_degree(int64_t replicas, int64_t ranks);

}  // namespace braid
