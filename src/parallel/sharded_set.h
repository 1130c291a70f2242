// SPDX-License-Identifier: Apache-2.0
// A set of parameters that is spread over data-parallel ranks: which part is whose, its weights and its gradients.
#pragma once

#include "parallel/shard_groups.h"
#include "parallel/sharded_gradients.h"
#include "parallel/sharded_weights.h"

namespace braid {

// What of it ranks can spread: nothing where each is a group of its own.
Sharding possible_sharding(Sharding asked, const ShardGroups& groups);

class ShardedSet {
 public:
  // Takes over the set's memory, or gives it some (ShardedWeights); what is not spread is whole on each rank. The set and
  // `groups` must outlive it. Collective (AgreedError where ranks would cut differently).
  ShardedSet(ParameterSet& parameters, Sharding sharding, const ShardGroups& groups, BucketSizes sizes = {},
             MasterPlace masters = MasterPlace::device);

  // What an optimiser of this rank updates: its parts of what is spread, or what is whole and alike on all ranks.
  std::vector<UpdateRange> ranges(bool whole) const;
  ShardedGradients& gradients() { return gradients_; }
  ShardedWeights& weights() { return weights_; }
  const std::vector<ShardUnit>& units() const { return units_; }

 private:
  ParameterSet& parameters_;
  int rank_;
  std::vector<ShardUnit> units_;
  at::TensorOptions options_;  // of gradients
  ShardedWeights weights_;
  ShardedGradients gradients_;
};

}  // namespace braid
