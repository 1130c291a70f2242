// SPDX-License-Identifier: Apache-2.0
// braid plan: how a run could be spread over a cluster, best first.
#include <cstdio>
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text_table.h"
#include "cli/command.h"
#include "cli/options.h"
#include "experiments/layout_plan.h"

namespace braid {

namespace {

constexpr const char* plan_examples = R"(
Examples:
  braid plan configs/mhc/tiny_24l_mhc.toml --cluster data/clusters/h100_8.toml
  braid plan my.toml --cluster data/clusters/h100_8.toml --nodes 2048 --set train.batch=16384
  braid plan my.toml --cluster mine.toml --all --json | jq '.layouts[0]'

A line is a layout: ranks that share the batch (data), that have stages of a model one behind the
other (pipeline), that share each sample's tokens (context) and each block (tensor), whether the
latter share tokens between products (sequence), what of those that hold the same is spread
(shard), samples that pass together (micro), whether blocks, or their attention, are computed
again, what lies in the host's memory (optim.offload: where nothing else fits and the cluster has
host_memory). Weights, gradients and moments are counted, activations estimated; bytes sent are
those of one rank and step, exactly, but for rows of a hash memory, which depend on the tokens; of
gists they are means over the phases' steps. Seconds are a model of the cluster file's numbers.
Layouts that do not fit are left out, or marked with --all.
Exit codes: 0 done; 1 nothing fits; 2 wrong use, configuration or cluster file.
)";

struct PlanRequest {
  CommonOptions common;
  std::string cluster;
  int64_t nodes = 0;  // 0: the file's
  int64_t top = 10;
  bool all = false, json = false;
};

std::string number_text(const char* format, double value) {
  char text[32];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string seconds_text(double seconds) {
  return seconds < 1 ? number_text("%.3g ms", 1e3 * seconds) : number_text("%.3g s", seconds);
}

std::string again_text(Recompute again) {
  return again == Recompute::none ? "no" : again == Recompute::attention ? "attention" : "yes";
}

std::vector<std::string> row_of(const LayoutPlan& plan, const ClusterConfig& cluster) {
  const Layout& layout = plan.layout;
  return {std::to_string(layout.data),
          std::to_string(layout.parallel.pipeline),
          std::to_string(layout.parallel.context),
          std::to_string(layout.parallel.tensor),
          layout.parallel.sequence ? "yes" : "no",
          layout.parallel.shard + (layout.parallel.shard_ranks > 0 ? str(" over ", layout.parallel.shard_ranks) : ""),
          std::to_string(layout.micro_batch),
          again_text(layout.recompute),
          human_bytes(plan.memory.weights),
          human_bytes(plan.memory.gradients),
          human_bytes(plan.memory.optimiser),
          human_bytes(plan.memory.activations),
          human_bytes(plan.memory.passing),
          human_bytes(plan.memory.total()),
          human_bytes(plan.memory.host),
          human_bytes(plan.traffic.total()),
          seconds_text(plan.step_seconds()),
          seconds_text(plan.waiting_seconds),
          number_text("%.1f %%", 100 * plan.utilisation),
          fits(plan, cluster) ? "" : "does not fit"};
}

nlohmann::json json_of(const std::vector<GistStepPlan>& steps) {
  nlohmann::json all = nlohmann::json::array();
  for (const GistStepPlan& each : steps) {
    const GistShape& shape = each.step.shape;
    all.push_back({{"segment", shape.segment},
                   {"segments", shape.segments},
                   {"samples", shape.samples},
                   {"raw", shape.raw},
                   {"share", each.step.share},
                   {"sent_bytes", each.traffic.total()}});
  }
  return all;
}

nlohmann::json json_of(const LayoutPlan& plan, const ClusterConfig& cluster) {
  const Layout& layout = plan.layout;
  return {{"data", layout.data},
          {"pipeline", layout.parallel.pipeline},
          {"context", layout.parallel.context},
          {"tensor", layout.parallel.tensor},
          {"sequence", layout.parallel.sequence},
          {"shard", layout.parallel.shard},
          {"shard_ranks", layout.parallel.shard_ranks},
          {"micro_batch", layout.micro_batch},
          {"recompute", layout.recompute != Recompute::none},
          {"recompute_part", layout.recompute == Recompute::attention ? "attention" : "block"},
          {"offload", layout.offload},
          {"fits", fits(plan, cluster)},
          {"memory_bytes",
           {{"weights", plan.memory.weights},
            {"gradients", plan.memory.gradients},
            {"optimiser", plan.memory.optimiser},
            {"activations", plan.memory.activations},
            {"passing", plan.memory.passing},
            {"total", plan.memory.total()},
            {"host", plan.memory.host}}},
          {"sent_bytes",
           {{"gradients", plan.traffic.gradients},
            {"parts", plan.traffic.parts},
            {"weights", plan.traffic.weights},
            {"activations", plan.traffic.activations},
            {"keys", plan.traffic.keys},
            {"rows", plan.traffic.rows},
            {"messages", plan.traffic.messages},
            {"sums", plan.traffic.sums},
            {"total", plan.traffic.total()}}},
          {"compute_seconds", plan.compute_seconds},
          {"waiting_seconds", plan.waiting_seconds},
          {"step_seconds", plan.step_seconds()},
          {"utilisation", plan.utilisation},
          {"steps", json_of(plan.steps)}};
}

void print_json(const std::vector<LayoutPlan>& plans, const ClusterConfig& cluster) {
  nlohmann::json all = {{"cluster", cluster.name}, {"gpus", cluster.gpus()}, {"layouts", nlohmann::json::array()}};
  for (const LayoutPlan& plan : plans) all["layouts"].push_back(json_of(plan, cluster));
  std::cout << all.dump(2) << "\n";
}

// What of the first line is no count.
void print_estimates(const LayoutPlan& first, const RunConfig& config) {
  if (first.traffic.rows > 0) {
    std::cout << "\nsent, estimated: " << human_bytes(first.traffic.rows) << " in the first are rows of the hash memory, as many as "
              << "tokens name that are drawn evenly from the vocabulary; texts that repeat themselves name fewer\n";
  }
  if (config.gist.enabled()) {
    std::cout << "\nestimated: activations, of the step that keeps most; sent and seconds are means over the steps of all phases, "
              << "each taken to its last one (--json has what each kind of step sends)\n";
  }
}

void print_table(const std::vector<LayoutPlan>& plans, const RunConfig& config, const ClusterConfig& cluster) {
  const int64_t parameters = count_all(config.model, config.lora, config.memory) + config.gist.elements(config.model);
  std::cout << cluster.name << ": " << cluster.nodes << " x " << cluster.gpus_per_node << " GPUs of " << cluster.memory
            << " GiB; " << parameters << " parameters, " << config.train.precision << ", "
            << (config.gist.enabled() ? str(plans.front().steps.size(), " kinds of steps")
                                      : str("batch ", config.train.batch, " x ", config.model.context, " tokens"))
            << "\n\n";
  std::vector<std::vector<std::string>> rows = {{"data", "pipeline", "context", "tensor", "sequence", "shard", "micro", "again", "weights",
                                                 "gradients", "optimiser", "activations", "passing", "together", "on host", "sent", "step",
                                                 "waiting", "utilisation", ""}};
  for (const LayoutPlan& plan : plans) rows.push_back(row_of(plan, cluster));
  std::cout << text_table(rows);
  print_estimates(plans.front(), config);
  const Layout& best = plans.front().layout;
  const ParallelConfig& spread = best.parallel;
  std::cout << "\nthe first: --set parallel.shard=" << spread.shard << " --set parallel.shard_ranks=" << spread.shard_ranks
            << " --set parallel.pipeline=" << spread.pipeline << " --set parallel.context=" << spread.context
            << " --set parallel.tensor=" << spread.tensor << " --set parallel.sequence=" << (spread.sequence ? "true" : "false")
            << " --set train.micro_batch=" << best.micro_batch << " --set train.recompute="
            << (best.recompute == Recompute::none ? "false" : "true")
            << (best.recompute == Recompute::attention ? " --set train.recompute_part=attention" : "")
            << (best.offload ? " --set optim.offload=true" : "") << "\n";
}

int run_plan(const PlanRequest& request) {
  const RunConfig config = read_run_config(open_config(request.common));
  if (request.cluster.empty()) throw UsageError("--cluster: name a TOML file that describes one; data/clusters/ has some");
  ClusterConfig cluster = read_cluster(request.cluster);
  if (request.nodes > 0) cluster.nodes = request.nodes;
  const std::vector<LayoutPlan> every = plan_layouts(config, cluster);
  std::vector<LayoutPlan> plans = request.all ? every : best_of_each(every, cluster);
  if (!request.all) {
    const LayoutPlan smallest = *std::min_element(every.begin(), every.end(), [](const LayoutPlan& a, const LayoutPlan& b) {
      return a.memory.total() < b.memory.total();
    });
    std::erase_if(plans, [&](const LayoutPlan& plan) { return !fits(plan, cluster); });
    if (plans.empty()) {
      throw Error(str("no layout fits into ", cluster.memory, " GiB: the smallest needs ", describe_memory(smallest.memory)));
    }
    if (std::ssize(plans) > request.top) plans.erase(plans.begin() + request.top, plans.end());
  }
  request.json ? print_json(plans, cluster) : print_table(plans, config, cluster);
  return exit_done;
}

int64_t positive(const cxxopts::ParseResult& parsed, const char* option) {
  const auto value = parsed[option].as<int64_t>();
  if (value < 1) throw UsageError(str("--", option, ": expected at least 1, found ", value));
  return value;
}

}  // namespace

int command_plan(const Arguments& arguments) {
  cxxopts::Options options("braid plan",
                           "Lists the ways to spread a run over a cluster, fastest first, with the memory of a rank by kind,\n"
                           "the bytes it sends, and how long a step would take. Runs nothing.");
  options.add_options()("config", "", cxxopts::value<std::string>())(
      "cluster", "TOML file: nodes, GPUs, memory, speed of products, links and network", cxxopts::value<std::string>(), "FILE")(
      "nodes", "so many nodes instead of the file's", cxxopts::value<int64_t>(), "N")(
      "top", "at most so many lines, 10 unless said", cxxopts::value<int64_t>(), "N")(
      "all", "every layout, whether it fits or not")("json", "as JSON")(
      "set", "override one key of the configuration: --set train.batch=512 (repeatable)",
      cxxopts::value<std::vector<std::string>>(), "KEY=VALUE")("h,help", "this text");
  options.parse_positional({"config"});
  options.positional_help("CONFIG");
  PlanRequest request;
  const auto use = [&](const cxxopts::ParseResult& parsed) {
    if (!parsed.count("config")) throw UsageError("no configuration file given; see configs/ for complete ones");
    request.common.config_path = parsed["config"].as<std::string>();
    if (parsed.count("set")) request.common.overrides = parsed["set"].as<std::vector<std::string>>();
    if (parsed.count("cluster")) request.cluster = parsed["cluster"].as<std::string>();
    if (parsed.count("nodes")) request.nodes = positive(parsed, "nodes");
    if (parsed.count("top")) request.top = positive(parsed, "top");
    request.all = parsed.count("all") > 0;
    request.json = parsed.count("json") > 0;
  };
  if (!parse_arguments(options, arguments, use, plan_examples)) return exit_done;
  return run_plan(request);
}

}  // namespace braid
