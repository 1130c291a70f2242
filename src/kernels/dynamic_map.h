// SPDX-License-Identifier: Apache-2.0
// The 8-bit dynamic map (Dettmers, arXiv 1511.04561 and 2110.02861): 256 numbers in [-1, 1], dense around 1 in seven
// decades, that a block divided by its largest magnitude is rounded to. For i = 0 to 6, [0.1, 1] is cut into 2^i equal
// intervals (2^(i+1) where there are no negative numbers), whose midpoints times 10^(i-6) are taken with both signs; 0
// and 1 come in addition. So the largest is 1, the smallest -0.99297.
//
// The float32 operations are those that PyTorch does on processors with AVX2 or AVX-512, where its linspace uses fused
// multiply-add: the tables are then bit-equal to bitsandbytes'. Without them PyTorch's own differ in the last bit.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace braid::kernels {

constexpr int64_t dynamic_map_size = 256;

// What rounds to the nearest of the map's numbers, a tie to the smaller. `first_code[u]`, u being the upper 16 bits of a
// float32, is the code of the smallest number that begins with them: no two borders between codes fall among these
// numbers, so the code of x is c = first_code[u] or, if x > border[c], c + 1.
struct DynamicMap {
  std::array<float, dynamic_map_size> value;       // by code, rising
  std::array<float, dynamic_map_size> border;      // between value[i] and value[i + 1]; the last is infinite
  std::vector<uint8_t> first_code;                 // [65536]
};

// The same as plain pointers, for kernels.
struct MapTables {
  const float* value;
  const float* border;
  const uint8_t* first_code;
};
MapTables tables_of(const DynamicMap& map);

const DynamicMap& signed_dynamic_map();
const DynamicMap& unsigned_dynamic_map();

}  // namespace braid::kernels
