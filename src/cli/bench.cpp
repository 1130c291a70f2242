// SPDX-License-Identifier: Apache-2.0
// braid bench: what launch/bench starts under mpirun. One JSON object a line, from rank 0.
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "cli/bench_collectives.h"
#include "cli/command.h"
#include "cli/options.h"
#include "experiments/run.h"

namespace braid {

namespace {

constexpr const char* bench_examples = R"(
Examples:
  mpirun -n 2 --bind-to none braid bench collectives --device cpu
  mpirun -n 8 --bind-to none braid bench collectives --collectives all_reduce --sizes 1MiB,25MiB
  launch/bench collectives                # the same beside gloo, as a table

A line tells the median and the lowest time of one call on the slowest rank, and the bandwidths as
NVIDIA's nccl-tests define them. A size is the larger of a rank's two buffers; send_receive is half
of a round trip.
Exit codes: 0 done; 1 failed; 2 wrong use.
)";

std::vector<std::string> comma_list(const std::string& text) {
  std::vector<std::string> words;
  std::stringstream in(text);
  for (std::string word; std::getline(in, word, ',');) words.push_back(word);
  if (words.empty()) throw UsageError("an empty list was given");
  return words;
}

// 65536, 64KiB, 25MiB, 1GiB.
int64_t parse_size(const std::string& word) {
  const auto bad = [&] { return UsageError(str("--sizes: ", word, ": expected bytes, as 65536, 64KiB, 25MiB or 1GiB")); };
  size_t used = 0;
  int64_t count = 0;
  try {
    count = std::stoll(word, &used);
  } catch (const std::exception&) {
    throw bad();
  }
  const std::string unit = word.substr(used);
  const int shift = unit.empty() ? 0 : unit == "KiB" ? 10 : unit == "MiB" ? 20 : unit == "GiB" ? 30 : -1;
  if (shift < 0 || count < 1 || count > (int64_t{1} << (40 - shift))) throw bad();
  return count << shift;
}

Dtype parse_type(const std::string& word) {
  if (word == "fp32") return Dtype::float32;
  if (word == "bf16") return Dtype::bfloat16;
  throw UsageError(str("--types: ", word, ": expected fp32 or bf16"));
}

std::string parse_collective(const std::string& word) {
  const auto& known = collective_names();
  if (std::find(known.begin(), known.end(), word) != known.end()) return word;
  const std::string nearest = nearest_name(word, known);
  throw UsageError(str("--collectives: unknown '", word, "'", nearest.empty() ? "" : "; nearest: " + nearest));
}

struct BenchRequest {
  CollectivePlan plan;
  WorldOptions world;
};

BenchRequest read_request(const cxxopts::ParseResult& parsed) {
  BenchRequest request;
  request.plan.collectives = collective_names();
  if (parsed.count("collectives")) {
    request.plan.collectives.clear();
    for (const auto& word : comma_list(parsed["collectives"].as<std::string>())) {
      request.plan.collectives.push_back(parse_collective(word));
    }
  }
  for (const auto& word : comma_list(parsed["sizes"].as<std::string>())) request.plan.sizes.push_back(parse_size(word));
  for (const auto& word : comma_list(parsed["types"].as<std::string>())) request.plan.types.push_back(parse_type(word));
  request.plan.iterations = parsed["iterations"].as<int64_t>();
  if (request.plan.iterations < 1) throw UsageError("--iterations: expected 1 or more");
  request.world.device = parsed["device"].as<std::string>();
  if (const auto& d = request.world.device; d != "auto" && d != "cpu" && d != "cuda") {
    throw UsageError(str("--device ", d, ": expected auto, cpu or cuda"));
  }
  request.world.share_gpu = parsed.count("share-gpu") > 0;
  return request;
}

nlohmann::ordered_json to_json(const CollectiveTiming& t, World& world) {
  const double rate = double(t.bytes) / t.median_seconds;
  return {{"backend", world.data().backend()},
          {"ranks", world.size()},
          {"collective", t.collective},
          {"type", t.type == Dtype::bfloat16 ? "bf16" : "fp32"},
          {"bytes", t.collective == "barrier" ? 0 : t.bytes},
          {"repeats", t.repeats},
          {"median_seconds", t.median_seconds},
          {"lowest_seconds", t.lowest_seconds},
          {"algorithm_bytes_per_second", t.collective == "barrier" ? 0 : rate},
          {"bus_bytes_per_second", rate * bus_factor(t.collective, world.size())}};
}

int run_collectives(World& world, const CollectivePlan& plan) {
  if (world.size() == 1) throw UsageError("braid bench collectives: start me under mpirun or srun with 2 ranks or more");
  choose_threads(world);
  bench_collectives(world, plan, [&](const CollectiveTiming& timing) {
    if (world.rank() == 0) std::cout << to_json(timing, world).dump() << std::endl;
  });
  return exit_done;
}

}  // namespace

int command_bench(const Arguments& arguments) {
  cxxopts::Options options("braid bench collectives",
                           "Bandwidth and latency of each collective by message size, between the ranks it is started\n"
                           "with: MPI for CPU memory, NCCL for GPU memory.");
  options.add_options()("collectives", "comma list (default: all)", cxxopts::value<std::string>(), "NAMES")(
      "sizes", "comma list of bytes", cxxopts::value<std::string>()->default_value("1KiB,32KiB,1MiB,25MiB,100MiB"), "SIZES")(
      "types", "fp32, bf16 or both", cxxopts::value<std::string>()->default_value("fp32,bf16"), "TYPES")(
      "iterations", "timed samples of each", cxxopts::value<int64_t>()->default_value("20"), "N")(
      "device", "auto, cpu or cuda; auto takes a GPU where there is one",
      cxxopts::value<std::string>()->default_value("auto"), "NAME")(
      "share-gpu", "allow several ranks on one GPU")("h,help", "this text");
  const bool only_options = arguments.empty() || arguments.front().starts_with("-");
  if (!only_options && arguments.front() != "collectives") {
    throw UsageError(str("braid bench: unknown '", arguments.front(), "'; there is: collectives"));
  }
  if (arguments.empty()) throw UsageError("braid bench: say what to measure: collectives (launch/bench has more)");
  BenchRequest request;
  const Arguments rest(arguments.begin() + (only_options ? 0 : 1), arguments.end());
  if (!parse_arguments(options, rest, [&](const auto& parsed) { request = read_request(parsed); }, bench_examples)) return 0;
  return with_world(request.world, [&](World& world, Logger&) { return run_collectives(world, request.plan); });
}

}  // namespace braid
