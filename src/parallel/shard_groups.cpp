// SPDX-License-Identifier: Apache-2.0
#include "parallel/shard_groups.h"

#include "base/error.h"

namespace braid {

int64_t shard_degree(int64_t replicas, int64_t ranks) { return ranks == 0 ? replicas : ranks; }

void ShardGroups::check(int64_t replicas, int64_t ranks) {
  if (replicas % shard_degree(replicas, ranks) == 0) return;
  throw UsageError(str("parallel.shard_ranks: expected a divisor of the ", replicas, " ranks that share the batch, or 0, found ",
                       ranks));
}

RankGroup ShardGroups::Pair::group(const RankGroup& all) const {
  if (!host) return all;
  return {*host, data ? *data : *host};
}

ShardGroups::ShardGroups(const RankGroup& replicas, int64_t ranks)
    : replicas_(replicas), groups_(static_cast<int>(replicas.host.size() / shard_degree(replicas.host.size(), ranks))) {
  check(replicas.host.size(), ranks);
  if (groups_ == 1) return;
  const int here = replicas.host.rank(), degree = static_cast<int>(ranks);
  within_.host = replicas.host.split(here / degree, here);
  if (&replicas.host != &replicas.data) within_.data = replicas.data.split(here / degree, here);
  across_ = replicas.data.split(here % degree, here);
}

}  // namespace braid
