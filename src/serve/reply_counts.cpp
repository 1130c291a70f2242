// SPDX-License-Identifier: Apache-2.0
#include "serve/reply_counts.h"

#include "serve/prometheus.h"

namespace braid {

void ReplyCounts::write(PrometheusText& text) const {
  text.family("braid_http_replies_total", "counter", "Replies by route and status.");
  for (const auto& [key, count] : counts_) {
    text.sample(static_cast<double>(count), {{"path", key.first}, {"status", std::to_string(key.second)}});
  }
}

}  // namespace braid
