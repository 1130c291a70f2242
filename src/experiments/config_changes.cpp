// SPDX-License-Identifier: Apache-2.0
#include "experiments/config_changes.h"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>

#include "base/error.h"
#include "comm/agreement.h"

namespace braid {

namespace {

// The order of samples, the loss and the updates follow from all other keys. Where the data lies may change; that it is
// the same data is known by its digest.
constexpr auto free_keys = std::to_array<std::string_view>({"optim.paged",
                                                            "optim.offload",
                                                            "data.path",
                                                            "train.steps",
                                                            "train.micro_batch",
                                                            "train.log_every",
                                                            "train.eval_every",
                                                            "train.eval_samples",
                                                            "train.deterministic",
                                                            "train.nonfinite",
                                                            "train.nonfinite_limit",
                                                            "train.outlier",
                                                            "train.outlier_zscore",
                                                            "train.outlier_window",
                                                            "train.rewind_limit",
                                                            "train.patience",
                                                            "train.recompute",
                                                            "train.recompute_part",
                                                            "train.epochs",
                                                            "train.stream_interval",
                                                            "gist.shard_segments",
                                                            "gist.eval_length",
                                                            "gist.eval_answers",
                                                            "gist.eval_keys",
                                                            "gist.eval_task",
                                                            "train.layer_metrics_every"});

bool may_change(const std::string& key) {
  if (key.starts_with("checkpoint.") || key.starts_with("watchdog.") || key.starts_with("eval.") ||
      key.starts_with("parallel.") || key.starts_with("sweep."))
    return true;
  return std::find(free_keys.begin(), free_keys.end(), key) != free_keys.end();
}

std::map<std::string, std::string> values_of(RunConfig& config) {
  std::map<std::string, std::string> values;
  for (const ConfigKey& key : config_keys([&](ConfigSection& section) { config.describe(section); })) {
    if (!key.is_table()) values[key.name] = key.value;
  }
  return values;
}

}  // namespace

std::vector<ConfigChange> config_changes(const std::string& before, RunConfig now) {
  RunConfig old;
  try {
    ConfigDocument::from_text(before, "the earlier configuration").read_into(old);
  } catch (const Error& problem) {
    return {{"the whole file", problem.what(), "this version's", false}};
  }
  std::vector<ConfigChange> changes;
  const auto earlier = values_of(old);
  for (const auto& [key, value] : values_of(now)) {
    if (earlier.at(key) != value) changes.push_back({key, earlier.at(key), value, may_change(key)});
  }
  return changes;
}

std::string describe_changes(const std::vector<ConfigChange>& changes, bool allowed) {
  std::string text;
  for (const ConfigChange& change : changes) {
    if (change.allowed == allowed) text += (text.empty() ? "" : ", ") + change.text();
  }
  return text;
}

void require_same_configuration(RunConfig config, Communicator& host) {
  const std::string first = broadcast_text(host, to_toml(config), 0);
  agree(host, [&] {
    const std::vector<ConfigChange> changes = config_changes(first, config);
    if (changes.empty()) return;
    throw UsageError(str("rank ", host.rank(), " was started with another configuration than rank 0: ", changes.front().text()));
  });
}

}  // namespace braid
