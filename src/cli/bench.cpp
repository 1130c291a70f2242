// SPDX-License-Identifier: Apache-2.0
// braid bench: what launch/bench starts under mpirun. One JSON object a line, from rank 0.
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/bench_collectives.h"
#include "cli/bench_decode.h"
#include "cli/bench_gist.h"
#include "cli/bench_io.h"
#include "cli/bench_serve.h"
#include "cli/comma_list.h"
#include "cli/command.h"
#include "cli/options.h"
#include "experiments/run.h"

namespace braid {

namespace {

constexpr const char* bench_examples = R"(
Examples:
  mpirun -n 2 --bind-to none braid bench collectives --device cpu
  mpirun -n 8 --bind-to none braid bench collectives --collectives all_reduce --sizes 1MiB,25MiB
  mpirun -n 2 --bind-to none braid bench io --bytes 512MiB --folder /scratch/me
  braid bench gist --config configs/gist/passkey_small.toml    # --help tells its options
  braid bench decode --model ~/TinyLlama                       # likewise
  braid bench serve ~/TinyLlama --streams 1,4,16               # likewise
  launch/bench collectives                # the same beside gloo, as a table
  launch/bench io                         # 1 and 2 ranks, as a table

collectives: a line tells the median and the lowest time of one call on the slowest rank, and the
bandwidths as NVIDIA's nccl-tests define them. A size is the larger of a rank's two buffers;
send_receive is half of a round trip.
io: a line a round, with the seconds of the slowest rank for a checkpoint and for plain files of the
same bytes; round 0 is the first save of the process. A rank needs three times --bytes of memory,
the disk twice as much for each rank.
Exit codes: 0 done; 1 failed; 2 wrong use.
)";

std::vector<std::string> some_of(const std::string& text) {
  std::vector<std::string> words = comma_list(text);
  if (words.empty()) throw UsageError("an empty list was given");
  return words;
}

// 65536, 64KiB, 25MiB, 1GiB.
int64_t parse_size(const std::string& option, const std::string& word) {
  const auto bad = [&] { return UsageError(str(option, ": ", word, ": expected bytes, as 65536, 64KiB, 25MiB or 1GiB")); };
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

CollectivePlan read_collectives(const cxxopts::ParseResult& parsed) {
  CollectivePlan plan;
  plan.collectives = collective_names();
  if (parsed.count("collectives")) {
    plan.collectives.clear();
    for (const auto& word : some_of(parsed["collectives"].as<std::string>())) {
      plan.collectives.push_back(parse_collective(word));
    }
  }
  for (const auto& word : some_of(parsed["sizes"].as<std::string>())) plan.sizes.push_back(parse_size("--sizes", word));
  for (const auto& word : some_of(parsed["types"].as<std::string>())) plan.types.push_back(parse_type(word));
  plan.iterations = parsed["iterations"].as<int64_t>();
  if (plan.iterations < 1) throw UsageError("--iterations: expected 1 or more");
  return plan;
}

IoPlan read_io(const cxxopts::ParseResult& parsed) {
  const IoPlan plan{parse_size("--bytes", parsed["bytes"].as<std::string>()), parsed["folder"].as<std::string>(),
                    parsed["rounds"].as<int64_t>()};
  if (plan.rounds < 1) throw UsageError("--rounds: expected 1 or more");
  return plan;
}

struct BenchRequest {
  CollectivePlan collectives;
  IoPlan io;
  WorldOptions world;
};

// Refuses options of the other measurement.
BenchRequest read_request(const std::string& what, const cxxopts::ParseResult& parsed) {
  const std::vector<const char*> foreign = what == "io"
      ? std::vector{"collectives", "sizes", "types", "iterations", "device", "share-gpu"}
      : std::vector{"bytes", "folder", "rounds"};
  for (const char* option : foreign) {
    if (parsed.count(option)) throw UsageError(str("braid bench ", what, ": takes no --", option));
  }
  BenchRequest request{read_collectives(parsed), read_io(parsed), {}};
  request.world.device = what == "io" ? "cpu" : parsed["device"].as<std::string>();
  one_of("device", request.world.device, {"auto", "cpu", "cuda"});
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

nlohmann::ordered_json to_json(const IoTiming& t, const World& world, const IoPlan& plan) {
  nlohmann::ordered_json line = {{"ranks", world.size()}, {"bytes", plan.bytes},         {"round", t.round},
                                 {"save", t.save},        {"blocked", t.blocked}};
  if (t.round == 0) return line;
  line.update({{"plain_write", t.plain_write},
               {"early_write", t.early_write},
               {"memory_copy", t.memory_copy},
               {"digest", t.digest},
               {"plain_read", t.plain_read},
               {"load", t.load},
               {"plain_read_cached", t.plain_read_cached},
               {"load_cached", t.load_cached}});
  return line;
}

int run_io(World& world, const IoPlan& plan) {
  choose_threads(world);
  bench_io(world, plan, [&](const IoTiming& timing) {
    if (world.rank() == 0) std::cout << to_json(timing, world, plan).dump() << std::endl;
  });
  return exit_done;
}

void add_bench_options(cxxopts::Options& options) {
  const auto text = [](const char* otherwise) { return cxxopts::value<std::string>()->default_value(otherwise); };
  options.add_options()("collectives", "comma list (default: all)", cxxopts::value<std::string>(), "NAMES")(
      "sizes", "collectives: comma list of bytes", text("1KiB,32KiB,1MiB,25MiB,100MiB"), "SIZES")(
      "types", "collectives: fp32, bf16 or both", text("fp32,bf16"), "TYPES")(
      "iterations", "collectives: timed samples of each", cxxopts::value<int64_t>()->default_value("20"), "N")(
      "device", "collectives: auto, cpu or cuda; auto takes a GPU where there is one", text("auto"), "NAME")(
      "share-gpu", "collectives: allow several ranks on one GPU")(
      "bytes", "io: what each rank stores", text("1GiB"), "SIZE")(
      "folder", "io: on the disk to measure; what is made in it is removed", text("."), "DIR")(
      "rounds", "io: how often everything is measured", cxxopts::value<int64_t>()->default_value("3"), "N")(
      "h,help", "this text");
}

}  // namespace

int command_bench(const Arguments& arguments) {
  if (!arguments.empty() && arguments.front() == "gist") {
    return command_bench_gist(Arguments(arguments.begin() + 1, arguments.end()));
  }
  if (!arguments.empty() && arguments.front() == "decode") {
    return command_bench_decode(Arguments(arguments.begin() + 1, arguments.end()));
  }
  if (!arguments.empty() && arguments.front() == "serve") {
    return command_bench_serve(Arguments(arguments.begin() + 1, arguments.end()));
  }
  cxxopts::Options options("braid bench",
                           "collectives: bandwidth and latency of each collective by message size, between the ranks it is\n"
                           "started with: MPI for CPU memory, NCCL for GPU memory.\n"
                           "io: checkpoints beside plain files of the same bytes, and what training waits for.\n"
                           "gist: compressing contexts and answering from gists, beside the whole context.\n"
                           "decode: how fast a model answers, and of what memory's bandwidth allows.\n"
                           "serve: what clients of a server see when many ask at once.");
  add_bench_options(options);
  const std::string what = arguments.empty() || arguments.front().starts_with("-") ? "" : arguments.front();
  if (!what.empty() && what != "collectives" && what != "io") {
    throw UsageError(str("braid bench: unknown '", what, "'; there are: collectives, io, gist, decode, serve"));
  }
  BenchRequest request;
  const Arguments rest(arguments.begin() + (what.empty() ? 0 : 1), arguments.end());
  const auto use = [&](const cxxopts::ParseResult& parsed) {
    if (what.empty()) throw UsageError("braid bench: say what to measure: collectives, io, gist, decode or serve (launch/bench has more)");
    request = read_request(what, parsed);
  };
  if (!parse_arguments(options, rest, use, bench_examples)) return exit_done;
  return with_world(request.world, [&](World& world, Logger&) {
    return what == "io" ? run_io(world, request.io) : run_collectives(world, request.collectives);
  });
}

}  // namespace braid
