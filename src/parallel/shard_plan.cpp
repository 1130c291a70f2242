// SPDX-License-Identifier: Apache-2.0
#include "parallel/shard_plan.h"

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "base/error.h"
#include "comm/agreement.h"

namespace braid {

namespace {

int64_t padded(int64_t elements, int64_t multiple) { return (elements + multiple - 1) / multiple * multiple; }

bool stays_whole(const Parameter& parameter) { return parameter.shape.size() != 2; }

// "blocks.3.ff1.weight" of a model and "layers.3.mlp.up_proj.lora_A.weight" of its adapters are used within block 3 only.
int64_t layer_of(const std::string& name) {
  for (const std::string prefix : {"blocks.", "layers."}) {
    if (name.starts_with(prefix)) return std::atoll(name.c_str() + prefix.size());
  }
  return -1;
}

int64_t last_block(ParameterSet& parameters) {
  int64_t last = -1;
  for (const Parameter& parameter : parameters.all()) last = std::max(last, layer_of(parameter.name));
  return last;
}

// Whether the parameter goes on where the unit ends.
bool joins(const ShardUnit& unit, const ShardUnit& alone, int64_t limit) {
  return unit.elements < limit && unit.layer == alone.layer && unit.group == alone.group && unit.whole == alone.whole &&
         unit.reads_master == alone.reads_master && (unit.first_block < 0) == (alone.first_block < 0);
}

}  // namespace

std::vector<ShardUnit> plan_units(ParameterSet& parameters, Sharding sharding, int ranks, BucketSizes sizes) {
  std::vector<Parameter*> order = parameters.in_buffer_order();
  std::stable_partition(order.begin(), order.end(), [](const Parameter* p) { return !stays_whole(*p); });
  const int64_t element = parameters.precision() == Precision::fp64 ? 8 : 4, last = last_block(parameters);
  std::vector<ShardUnit> units;
  for (Parameter* parameter : order) {
    ShardUnit alone;
    alone.whole = sharding == Sharding::none || stays_whole(*parameter);
    alone.layer = sharding == Sharding::parameters && !alone.whole ? layer_of(parameter->name) : -1;
    if (!alone.whole) alone.first_block = parameter->name == "head.weight" ? last : layer_of(parameter->name);
    alone.group = parameter->group;
    alone.reads_master = parameter->reads_master;
    const int64_t limit = (units.size() <= 1 ? sizes.first_bytes : sizes.other_bytes) / element;
    if (units.empty() || !joins(units.back(), alone, limit)) units.push_back(alone);
    ShardUnit& unit = units.back();
    unit.first_block = std::min(unit.first_block, alone.first_block);
    unit.places.push_back({parameter, unit.elements});
    unit.elements += padded(parameter->elements(), ParameterSet::alignment);
  }
  for (ShardUnit& unit : units) {
    if (!unit.whole) unit.elements = padded(unit.elements, ParameterSet::alignment * ranks);
    unit.part = unit.whole ? unit.elements : unit.elements / ranks;
  }
  return units;
}

std::vector<ParameterPart> parts_of(const ShardUnit& unit, int rank) {
  const int64_t begin = unit.whole ? 0 : rank * unit.part, end = begin + unit.part;
  std::vector<ParameterPart> parts;
  for (const auto& [parameter, offset] : unit.places) {
    const int64_t first = std::max(begin, offset), last = std::min(end, offset + parameter->elements());
    if (first < last) parts.push_back({parameter, first - offset, last - first, first - begin});
  }
  return parts;
}

namespace {

// A line for each unit.
std::string describe(const std::vector<ShardUnit>& units) {
  std::string text;
  for (const ShardUnit& unit : units) {
    text += str(unit.places.front().parameter->name, " and ", unit.places.size() - 1, " more, ", unit.elements,
                " elements of which a rank has ", unit.part, "\n");
  }
  return text;
}

std::string next_line(std::istringstream& text) {
  std::string line;
  return std::getline(text, line) ? line : "nothing";
}

}  // namespace

void require_same_units(const std::vector<ShardUnit>& units, Communicator& host) {
  const std::string mine = describe(units), first = broadcast_text(host, mine, 0);
  agree(host, [&] {
    std::istringstream here(mine), there(first);
    while (mine != first) {
      const std::string a = next_line(here), b = next_line(there);
      if (a == b) continue;
      throw Error(str("parallel.shard: rank ", host.rank(), " spreads weights as rank 0 does not: ", a, "; rank 0: ", b));
    }
  });
}

}  // namespace braid
