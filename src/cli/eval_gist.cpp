// SPDX-License-Identifier: Apache-2.0
#include "cli/eval_gist.h"

#include <charconv>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <sstream>

#include "base/error.h"
#include "base/text_table.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "comm/agreement.h"
#include "experiments/gist_evaluate.h"
#include "experiments/run.h"
#include "experiments/version.h"
#include "store/checkpoint_reader.h"
#include "train/memory.h"

namespace braid {

namespace {

constexpr const char* gist_examples = R"(
Examples:
  braid eval runs/passkey --limit 256 --lengths 1000,3000,6000 --segment 300 --output runs/passkey.h5
  braid eval runs/passkey/checkpoints/step-00001000 --limit 64
  mpirun -n 2 --bind-to none braid eval runs/passkey --depths 11 --limit 64 --distractors 0.03

Held-out keys only. An answer is right when all five digits and the end after them are (greedy
decoding). The answers do not depend on the number of ranks. --output writes scores and every
answer as HDF5, and as JSON beside it.
Exit codes: 0 done; 1 failed; 2 wrong use, or files that cannot be taken.
)";

struct GistRequest {
  std::string run, output;
  GistTest test;
  int64_t seed = -1;
  WorldOptions world;
};

std::string percent(double share) {
  char text[16];
  std::snprintf(text, sizeof text, "%.1f %%", 100 * share);
  return text;
}

std::string times(int64_t length, int64_t read) { return read > 0 ? str((length + read / 2) / read, "x") : ""; }

void print_lines(const std::vector<GistLine>& lines) {
  std::vector<std::vector<std::string>> rows = {
      {"context", "depth", "system", "exact", "95 % interval", "of", "digits", "reads", "ratio", "keys and values"}};
  for (const GistLine& line : lines) {
    const Interval interval = line.interval();
    const auto of = static_cast<int64_t>(line.answers.size());
    rows.push_back({std::to_string(line.length), line.depth ? percent(*line.depth) : "any", line.system,
                    percent(double(line.right()) / double(of)), percent(interval.low) + " to " + percent(interval.high),
                    std::to_string(of), percent(line.digits()), std::to_string(line.read_tokens),
                    times(line.length, line.read_tokens), human_bytes(line.read_bytes)});
  }
  std::cout << text_table(rows) << std::flush;
}

int evaluate(World& world, const GistRequest& request) {
  choose_threads(world);
  AdaptedModel loaded;
  RunConfig config;
  GistTest test = request.test;
  agree(world.host(), [&] {
    ModelSource source;
    source.run = request.run;
    loaded = load_adapted_model(source, Precision::fp32, device_of(world));
    if (!loaded.gists)
      throw UsageError(str(request.run, ": expected a run with [gist], whose model compresses contexts"));
    config = run_config_of(verify_checkpoint(loaded.checkpoint), loaded.checkpoint);
    if (test.lengths.empty()) test.lengths = {config.gist.eval_length};
  });
  const int64_t seed = request.seed >= 0 ? request.seed : config.train.seed;
  const std::vector<GistLine> lines =
      evaluate_gists(loaded, config.gist, test, static_cast<uint64_t>(seed), world.host());
  agree_on_root(world.host(), [&] {
    print_lines(lines);
    if (request.output.empty()) return;
    write_gist_file(request.output, lines,
                    {{"run", loaded.checkpoint},
                     {"data", std::string("passkey")},
                     {"seed", seed},
                     {"gists", config.gist.count},
                     {"segment", test.segment > 0 ? test.segment : config.gist.segment},
                     {"overlap", config.gist.overlap},
                     {"distractors", str(test.distractors)},
                     {"git_commit", std::string(git_commit())},
                     {"world_size", int64_t{world.size()}}});
  });
  return exit_done;
}

std::vector<int64_t> lengths_of(const std::string& text) {
  std::vector<int64_t> lengths;
  std::stringstream list(text);
  for (std::string one; std::getline(list, one, ',');) {
    int64_t length = 0;
    const auto [end, problem] = std::from_chars(one.data(), one.data() + one.size(), length);
    if (problem != std::errc() || end != one.data() + one.size() || length < 7) {
      throw UsageError(str("--lengths: expected numbers of tokens from 7, found \"", one, "\""));
    }
    lengths.push_back(length);
  }
  return lengths;
}

// As many as asked for, from the beginning to the end.
std::vector<double> depths_of(int64_t count) {
  if (count < 0 || count == 1) throw UsageError("--depths: expected 0, or 2 or more");
  std::vector<double> depths;
  for (int64_t i = 0; i < count; ++i) depths.push_back(double(i) / double(count - 1));
  return depths;
}

GistRequest read_request(const cxxopts::ParseResult& parsed) {
  GistRequest request;
  request.run = text_option(parsed, "run");
  request.output = text_option(parsed, "output");
  request.test.lengths = lengths_of(text_option(parsed, "lengths"));
  request.test.depths = depths_of(parsed["depths"].as<int64_t>());
  request.test.limit = parsed["limit"].as<int64_t>();
  request.test.segment = parsed["segment"].as<int64_t>();
  request.test.distractors = parsed["distractors"].as<double>();
  request.test.full = parsed.count("no-full") == 0;
  request.seed = parsed["seed"].as<int64_t>();
  request.world.device = one_of("device", parsed["device"].as<std::string>(), {"auto", "cpu", "cuda"});
  if (request.test.limit < 1) throw UsageError("--limit: expected 1 or more");
  if (request.test.segment < 0) throw UsageError("--segment: expected a number of tokens");
  if (request.test.distractors < 0 || request.test.distractors > 1)
    throw UsageError("--distractors: expected a share from 0 to 1");
  return request;
}

void add_options(cxxopts::Options& options) {
  const auto number = [](const char* value) { return cxxopts::value<int64_t>()->default_value(value); };
  options.add_options()("run", "the run's folder, or one of its checkpoints", cxxopts::value<std::string>(), "OUT")(
      "limit", "samples of each line and cell", number("64"), "N")(
      "lengths", "contexts in tokens; default: gist.eval_length", cxxopts::value<std::string>(), "N,…")(
      "depths", "cells of the map over depth; 0: none", number("0"), "N")(
      "segment", "tokens that are compressed together; default: gist.segment", number("0"), "N")(
      "distractors", "share of digits in the filler", cxxopts::value<double>()->default_value("0"), "SHARE")(
      "no-full", "without the raw context, whose time grows with the square of its length")(
      "seed", "of the held-out samples; default: the run's", number("-1"), "N")(
      "output", "HDF5 file of scores and answers, and JSON beside it", cxxopts::value<std::string>(), "FILE")(
      "device", "auto, cpu or cuda", cxxopts::value<std::string>()->default_value("auto"), "NAME")("h,help",
                                                                                                   "this text");
  options.parse_positional({"run"});
  options.positional_help("OUT");
}

}  // namespace

bool names_run(const Arguments& arguments) {
  std::error_code problem;
  return !arguments.empty() && arguments[0] != "engram" && std::filesystem::is_directory(arguments[0], problem);
}

int command_eval_gist(const Arguments& arguments) {
  cxxopts::Options options("braid eval",
                           "OUT: what a run's model answers from compressed contexts, beside its controls.");
  add_options(options);
  GistRequest request;
  if (!parse_arguments(
          options, arguments, [&](const auto& parsed) { request = read_request(parsed); }, gist_examples)) {
    return exit_done;
  }
  return with_world(request.world, [&](World& world, Logger&) { return evaluate(world, request); });
}

}  // namespace braid
