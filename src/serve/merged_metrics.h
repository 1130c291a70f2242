// SPDX-License-Identifier: Apache-2.0
// Numbers of several servers in one text that Prometheus reads.
#pragma once

#include <string>
#include <vector>

namespace braid {

struct LabelledMetrics {
  std::string replica, text;  // its name; what its /metrics told, "" for nothing
};

// `own` first, then the replicas' samples, each with the label replica="NAME" before its others; all samples of a family
// stand together. A replica that is a front itself gives NAME/ITS OWN. Families that a front counts for itself (clients,
// their replies) are not taken from replicas.
std::string merged_metrics(const std::string& own, const std::vector<LabelledMetrics>& replicas);

}  // namespace braid
