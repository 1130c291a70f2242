// SPDX-License-Identifier: Apache-2.0
#include <sched.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/error.h"
#include "comm/places.h"

namespace braid {

int cores_of_this_process() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
}

std::vector<RankPlace> gather_places(Communicator& host, RankPlace mine) {
  mine.rank = host.rank();
  mine.host = host_name();
  mine.cpus = cores_of_this_process();
  const nlohmann::json packed = {mine.rank, mine.local_rank, mine.host, mine.device, mine.device_id, mine.cpus};
  std::vector<RankPlace> places;
  for (const std::string& text : gather_texts(host, packed.dump())) {
    const auto p = nlohmann::json::parse(text);
    places.push_back({p[0], p[1], p[2], p[3], p[4], p[5]});
  }
  return places;
}

namespace {

// Ranks that differ in nothing but their number.
bool alike(const RankPlace& a, const RankPlace& b) {
  return a.host == b.host && a.device == b.device && a.cpus == b.cpus;
}

}  // namespace

std::string describe_places(const std::vector<RankPlace>& places) {
  std::string text;
  for (size_t first = 0; first < places.size();) {
    size_t last = first;
    while (last + 1 < places.size() && alike(places[first], places[last + 1])) ++last;
    const RankPlace& place = places[first];
    text += (text.empty() ? "" : "\n") + (first == last ? str("rank ", first) : str("ranks ", first, "-", last)) + ": " +
            place.host + ", " + place.device + ", may use " + str(place.cpus, place.cpus == 1 ? " core" : " cores");
    first = last + 1;
  }
  return text;
}

}  // namespace braid
