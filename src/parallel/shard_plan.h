// SPDX-License-Identifier: Apache-2.0
// Which parameters travel together where each rank keeps a part of them, and which part that is. A pure function of the
// parameters' shapes and the number of ranks, so that all ranks come to the same plan without a word.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "optim/update_range.h"
#include "parallel/gradient_reducer.h"
#include "parallel/parallel_config.h"

namespace braid {

// Parameters of one group, neighbours in the order in which backward finishes them. Matrices are spread: their elements,
// each tensor from a multiple of 256 on, are padded to a multiple of 256 for every rank, and rank r keeps elements
// [r part, (r + 1) part). All else (norms, biases, coefficients of connections) is a few thousandths of a model, is read by
// code that knows no ranks, and stays whole on each.
struct ShardUnit {
  struct Place {
    Parameter* parameter = nullptr;
    int64_t offset = 0;
  };
  std::vector<Place> places;
  int64_t elements = 0, part = 0;  // with padding; of all ranks and of one (of each, all, where it is whole)
  int64_t layer = -1;              // whose block alone needs these weights; -1: they are needed throughout a step
  int64_t first_block = -1;        // the first that reads any of these weights; -1: they are needed before it
  int group = 0;
  bool whole = false, reads_master = false;
};

// Units that are spread, then those that are whole (all, with Sharding::none).
std::vector<ShardUnit> plan_units(ParameterSet& parameters, Sharding sharding, int ranks, BucketSizes sizes = {});

// What of the unit's parameters lies in the rank's part; offsets count from the part's first element.
std::vector<ParameterPart> parts_of(const ShardUnit& unit, int rank);

// Ranks that cut differently would add up what does not belong together: an AgreedError that names the first unit in which
// a rank differs from rank 0. Collective.
void require_same_units(const std::vector<ShardUnit>& units, Communicator& host);

}  // namespace braid
