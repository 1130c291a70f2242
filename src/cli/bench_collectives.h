// SPDX-License-Identifier: Apache-2.0
// Times each collective of a communicator by message size, with the definitions of NVIDIA's nccl-tests: a size is the
// bytes of the larger of a rank's two buffers, algorithm bandwidth is size / time, and bus bandwidth is that times the
// share of the size that must pass through a rank's link, so that it can be held against the hardware.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "comm/world.h"

namespace braid {

struct CollectivePlan {
  std::vector<std::string> collectives;
  std::vector<int64_t> sizes;  // bytes
  std::vector<Dtype> types;
  int64_t iterations = 20;  // timed samples of each
};

struct CollectiveTiming {
  std::string collective;
  Dtype type = Dtype::float32;
  int64_t bytes = 0;    // as measured: the wanted size, cut to a multiple of the ranks
  int64_t repeats = 1;  // calls of one sample, one after another
  double median_seconds = 0, lowest_seconds = 0;  // of one call, on the slowest rank
};

const std::vector<std::string>& collective_names();

// What a size is multiplied with for bus bandwidth: 2 (n - 1) / n for all_reduce.
double bus_factor(const std::string& collective, int ranks);

// How many calls make a sample: short ones are repeated so that the clock and the barrier do not show.
int64_t repeats_of(int64_t bytes);

// Collective over world.data(); `tell` is called on every rank after each timing.
void bench_collectives(World& world, const CollectivePlan& plan,
                       const std::function<void(const CollectiveTiming&)>& tell);

}  // namespace braid
