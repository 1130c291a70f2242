// SPDX-License-Identifier: Apache-2.0
#include "parallel/sharded_set.h"

namespace braid {

namespace {

std::vector<ShardUnit> agreed_units(ParameterSet& parameters, Sharding sharding, const ShardGroups& groups, BucketSizes sizes) {
  std::vector<ShardUnit> units = plan_units(parameters, sharding, groups.within().host.size(), sizes);
  require_same_units(units, groups.replicas().host);
  return units;
}

}  // namespace

Sharding possible_sharding(Sharding asked, const ShardGroups& groups) {
  return groups.within().host.size() > 1 ? asked : Sharding::none;
}

ShardedSet::ShardedSet(ParameterSet& parameters, Sharding sharding, const ShardGroups& groups, BucketSizes sizes,
                       MasterPlace masters)
    : parameters_(parameters),
      rank_(groups.within().host.rank()),
      units_(agreed_units(parameters, sharding, groups, sizes)),
      options_(parameters.gradient().options()),
      weights_(units_, parameters, groups.within().data,
               sharding == Sharding::parameters ? FullWeights::gathered : FullWeights::kept, masters),
      gradients_(units_, options_, groups, sharding >= Sharding::gradients ? FullGradients::passing : FullGradients::kept) {}

std::vector<UpdateRange> ShardedSet::ranges(bool whole) const {
  std::vector<UpdateRange> all;
  for (size_t i = 0; i < units_.size(); ++i) {
    const ShardUnit& unit = units_[i];
    if (unit.whole != whole) continue;
    all.push_back({unit.group, parameters_.rate(unit.group), weights_.part(i), gradients_.part(i), parts_of(unit, rank_)});
  }
  return all;
}

}  // namespace braid
