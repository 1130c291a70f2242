// SPDX-License-Identifier: Apache-2.0
#include "experiments/sweep_axes.h"

#include <algorithm>
#include <set>

#include "base/config.h"
#include "base/error.h"

namespace braid {

namespace {

// Every configuration of `configs` once with each of the values, the last axis changing fastest. No values: as it is.
template <class T>
std::vector<RunConfig> along(const std::vector<RunConfig>& configs, const std::vector<T>& values, auto field) {
  if (values.empty()) return configs;
  std::vector<RunConfig> all;
  for (const RunConfig& config : configs) {
    for (const T& value : values) {
      all.push_back(config);
      field(all.back()) = value;
    }
  }
  return all;
}

// The fields of connections that `sweep` lists but this run does not have go back to one value, so that it is made
// once.
RunConfig without_what_means_nothing(RunConfig config, const SweepConfig& sweep) {
  ModelConfig& m = config.model;
  const ModelConfig usual;
  if (!sweep.forms.empty() && m.residual == "residual") m.connection_form = usual.connection_form;
  if (!sweep.forms.empty() && !m.is_paper_form() && m.stream_exit == "learned") m.stream_exit = usual.stream_exit;
  if (!m.has_manifold() && !(sweep.forms.empty() && sweep.manifolds.empty() && sweep.starts.empty())) {
    m.manifold = usual.manifold;
    m.connection_start = usual.connection_start;
  }
  if (!sweep.streams.empty() && m.residual == "residual") m.streams = usual.streams;
  if (!sweep.iterations.empty() && !m.iterates()) m.sinkhorn_iterations = usual.sinkhorn_iterations;
  return config;
}

// There are too many permutations of more streams.
bool can_be(const ModelConfig& m) { return !m.has_manifold() || m.manifold != "permutations" || m.streams <= 4; }

std::vector<RunConfig> depths_of(RunConfig config, const SweepConfig& sweep) {
  config.sweep = SweepConfig{};
  std::vector<RunConfig> all = along({config}, sweep.layers, [](RunConfig& c) -> auto& { return c.model.layers; });
  for (size_t depth = 0; depth < sweep.batch.size(); ++depth) all.at(depth).train.batch = sweep.batch[depth];
  return all;
}

struct Variation {
  std::string name;
  std::vector<std::string> changes;  // "KEY=VALUE"
};

std::string without_blanks_around(const std::string& text) {
  const size_t first = text.find_first_not_of(' ');
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(' ') - first + 1);
}

Variation read_variation(const std::string& text) {
  const size_t colon = text.find(':');
  Variation variation{without_blanks_around(text.substr(0, colon)), {}};
  constexpr const char* allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  if (colon == std::string::npos || variation.name.empty() ||
      variation.name.find_first_not_of(allowed) != std::string::npos) {
    throw UsageError(
        str("sweep.variations: expected \"NAME: KEY=VALUE; KEY=VALUE\" with a NAME that can be a folder's, found \"",
            text, "\""));
  }
  std::string rest = text.substr(colon + 1);
  for (size_t end = 0; end != std::string::npos;) {
    end = rest.find(';');
    if (const std::string one = without_blanks_around(rest.substr(0, end)); !one.empty())
      variation.changes.push_back(one);
    if (end != std::string::npos) rest.erase(0, end + 1);
  }
  return variation;
}

RunConfig varied(RunConfig config, const Variation& variation) {
  if (variation.changes.empty()) return config;
  try {
    ConfigDocument document = ConfigDocument::from_text(to_toml(config), "sweep.variations: " + variation.name);
    for (const std::string& change : variation.changes) document.override_with(change);
    return read_run_config(document);
  } catch (const UsageError& problem) {
    const std::string what = problem.what();
    throw UsageError(what.starts_with("sweep.variations") ? what
                                                          : str("sweep.variations: ", variation.name, ": ", what));
  }
}

std::vector<RunConfig> tasks_of(const std::vector<RunConfig>& configs, const SweepConfig& sweep) {
  std::vector<RunConfig> all = along(configs, sweep.tasks, [](RunConfig& c) -> auto& { return c.data.kind; });
  if (sweep.vocabulary.empty()) return all;
  for (size_t i = 0; i < all.size(); ++i) all[i].model.vocabulary = sweep.vocabulary[i % sweep.vocabulary.size()];
  return all;
}

std::vector<RunConfig> connections_of(std::vector<RunConfig> all, const SweepConfig& sweep) {
  all = along(all, sweep.residual, [](RunConfig& c) -> auto& { return c.model.residual; });
  all = along(all, sweep.forms, [](RunConfig& c) -> auto& { return c.model.connection_form; });
  all = along(all, sweep.manifolds, [](RunConfig& c) -> auto& { return c.model.manifold; });
  all = along(all, sweep.starts, [](RunConfig& c) -> auto& { return c.model.connection_start; });
  all = along(all, sweep.streams, [](RunConfig& c) -> auto& { return c.model.streams; });
  all = along(all, sweep.iterations, [](RunConfig& c) -> auto& { return c.model.sinkhorn_iterations; });
  std::erase_if(all, [](const RunConfig& c) { return !can_be(c.model); });
  for (RunConfig& config : all) config = without_what_means_nothing(std::move(config), sweep);
  return all;
}

// Each run in every variation.
std::vector<NamedRun> with_variations(const std::vector<NamedRun>& runs, const SweepConfig& sweep) {
  std::vector<Variation> variations;
  std::set<std::string> names;
  for (const std::string& text : sweep.variations) {
    variations.push_back(read_variation(text));
    if (names.insert(variations.back().name).second) continue;
    throw UsageError(str("sweep.variations: ", variations.back().name, " is there twice"));
  }
  std::vector<NamedRun> all;
  for (const NamedRun& run : runs) {
    for (const Variation& variation : variations) {
      RunConfig one = varied(run.config, variation);
      std::string name = str(run_name(one, sweep), "_", variation.name);
      all.push_back({std::move(name), std::move(one)});
    }
  }
  return all;
}

}  // namespace

std::vector<NamedRun> runs_of(const RunConfig& base) {
  const SweepConfig& sweep = base.sweep;
  std::vector<RunConfig> all = connections_of(tasks_of(depths_of(base, sweep), sweep), sweep);
  all = along(all, sweep.precisions, [](RunConfig& c) -> auto& { return c.train.precision; });
  all = along(all, sweep.epochs, [](RunConfig& c) -> auto& { return c.train.epochs; });
  all = along(all, sweep.learning_rates, [](RunConfig& c) -> auto& { return c.optim.learning_rate; });
  all = along(all, sweep.lora_ranks, [](RunConfig& c) -> auto& { return c.lora.rank; });
  all = along(all, sweep.seeds, [](RunConfig& c) -> auto& { return c.train.seed; });
  // What means nothing to a model makes no run of its own.
  std::set<std::string> names;
  std::erase_if(all, [&](const RunConfig& config) { return !names.insert(run_name(config, sweep)).second; });
  std::vector<NamedRun> runs;
  for (RunConfig& config : all) runs.push_back({run_name(config, sweep), std::move(config)});
  return sweep.variations.empty() ? runs : with_variations(runs, sweep);
}

}  // namespace braid
