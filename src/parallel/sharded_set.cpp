// SPDX-License-Identifier: Apache-2.0
#include "parallel/sharded_set.h"

namespace braid {

namespace {

std::vector<ShardUnit> agreed_units(ParameterSet& parameters, Sharding sharding, Communicator& host, BucketSizes sizes) {
  std::vector<ShardUnit> units = plan_units(parameters, sharding, host.size(), sizes);
  require_same_units(units, host);
  return units;
}

}  // namespace

ShardedSet::ShardedSet(ParameterSet& parameters, Sharding sharding, Communicator& host, Communicator& data,
                       BucketSizes sizes)
    : parameters_(parameters),
      rank_(host.rank()),
      units_(agreed_units(parameters, sharding, host, sizes)),
      options_(parameters.gradient().options()),
      weights_(units_, parameters, data, sharding == Sharding::parameters ? FullWeights::gathered : FullWeights::kept),
      gradients_(units_, options_, data,
                 sharding == Sharding::optimizer ? FullGradients::kept : FullGradients::passing) {}

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
