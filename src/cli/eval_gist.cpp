// SPDX-License-Identifier: Apache-2.0
#include "cli/eval_gist.h"

#include <filesystem>
#include <iostream>

#include "base/error.h"
#include "cli/eval_gist_tables.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "comm/agreement.h"
#include "experiments/gist_report.h"
#include "experiments/hardware.h"
#include "experiments/run.h"
#include "experiments/version.h"

namespace braid {

namespace {

constexpr const char* gist_examples = R"(
Examples:
  braid eval runs/passkey --limit 256 --lengths 1000,3000,6000 --segment 300 --output runs/passkey.h5
  braid eval runs/passkey/checkpoints/step-00001000 --limit 64
  braid eval runs/passkey --every-checkpoint --limit 64 --output runs/steps.h5
  braid eval runs/texts --dataset runs/needles/global-test.jsonl --limit 200 --output runs/global.h5
  mpirun -n 2 --bind-to none braid eval runs/passkey --depths 11 --limit 64 --distractors 0.03

Questions of the passkey task with held-out keys, or those of --dataset (JSON lines or HDF5 of braid
data needles, or the public experiment's lines) through the run's tokenizer. An answer is strict when
it is what was asked for and ends there (greedy decoding). Wrong ones are classed by rule. The
answers do not depend on the number of ranks. --output writes scores and every answer as HDF5, and as
JSON beside it. At the end: the six targets of the public experiment, with questions about four
statements, and memory and time of compressed and of full contexts, measured in this run.
Exit codes: 0 done; 1 failed; 2 wrong use, or files that cannot be taken.
)";

struct GistRequest {
  std::string run, output;
  GistTest test;
  GistReportOptions report;
  bool every_checkpoint = false;
  WorldOptions world;
};

RunAttributes attributes_of(const GistRequest& request, const GistRun& run, const World& world) {
  const GistTest& test = request.test;
  return {{"run", run.loaded.checkpoint},
          {"data", test.dataset.empty() ? std::string("passkey") : test.dataset},
          {"seed", test.seed >= 0 ? test.seed : run.config.train.seed},
          {"gists", run.config.gist.count},
          {"segment", segment_of(run, test)},
          {"overlap", run.config.gist.overlap},
          {"distractors", str(test.distractors)},
          {"git_commit", std::string(git_commit())},
          {"hardware", hardware_of(world.places())},
          {"device", world.places().at(0).device},
          {"world_size", int64_t{world.size()}}};
}

int evaluate(World& world, const GistRequest& request) {
  choose_threads(world);
  GistRun run;
  agree(world.host(), [&] { run = load_gist_run(request.run, Precision::fp32, device_of(world)); });
  GistReport report;
  if (request.every_checkpoint) {
    report.lines = gists_by_checkpoint(request.run, request.test, Precision::fp32, device_of(world), world.host());
  } else {
    report = report_gists(run, request.test, request.report, world.host());
  }
  agree_on_root(world.host(), [&] {
    std::cout << gist_report_text(report) << std::flush;
    if (!request.output.empty()) write_gist_file(request.output, report, attributes_of(request, run, world));
  });
  return exit_done;
}

// The options that are a test's settings, in the form of read_gist_test.
GistTest test_of(const cxxopts::ParseResult& parsed) {
  std::string settings;
  for (const char* key : {"lengths", "depths", "limit", "segment", "seed", "keys", "task", "distractors", "dataset", "systems"}) {
    if (parsed.count(key)) settings += str(" ", key, "=", parsed[key].as<std::string>());
  }
  try {
    GistTest test = read_gist_test(settings);
    if (parsed.count("quick") && !parsed.count("limit")) test.limit = 50;
    test.full = parsed.count("no-full") == 0;
    return test;
  } catch (const UsageError& problem) {
    throw UsageError(str("--", problem.what()));
  }
}

GistRequest read_request(const cxxopts::ParseResult& parsed) {
  GistRequest request;
  request.run = text_option(parsed, "run");
  request.output = text_option(parsed, "output");
  request.test = test_of(parsed);
  request.every_checkpoint = parsed.count("every-checkpoint") > 0;
  request.report.targets = parsed.count("no-targets") == 0;
  request.report.probe = parsed["probe"].as<int64_t>();
  request.world.device = one_of("device", parsed["device"].as<std::string>(), {"auto", "cpu", "cuda"});
  if (request.report.probe < 0) throw UsageError("--probe: expected 0 or more");
  if (!request.test.dataset.empty() && !(request.test.lengths.empty() && request.test.depths.empty()))
    throw UsageError("--dataset goes without --lengths and --depths: its contexts are as they are");
  return request;
}

void add_options(cxxopts::Options& options) {
  const auto text = [] { return cxxopts::value<std::string>(); };
  options.add_options()("run", "the run's folder, or one of its checkpoints", text(), "OUT")(
      "limit", "questions of each line and cell; default: 64", text(), "N")("quick", "50 questions")(
      "dataset", "needle samples instead of the passkey task: FILE.jsonl or FILE.h5", text(), "FILE")(
      "lengths", "contexts in tokens; default: gist.eval_length", text(), "N,…")(
      "depths", "cells of the map over depth; 0: none", text(), "N")(
      "keys", "statements in a context; default: 1", text(), "N")(
      "task", "what is asked of several: multikey, multivalue or vt", text(), "NAME")(
      "segment", "tokens that are compressed together; default: gist.segment", text(), "N")(
      "distractors", "share of digits in the filler; default: 0", text(), "SHARE")(
      "systems", "of gist, shuffled, none, truncated, oracle, search, full …; default: all", text(), "NAME,…")(
      "no-full", "without the raw context, whose time grows with the square of its length")(
      "every-checkpoint", "what the gists of each of the run's checkpoints answer, and nothing else")(
      "no-targets", "without questions about several statements, probe and targets")(
      "probe", "the largest batch that memory and time are measured at; 0: none", cxxopts::value<int64_t>()->default_value("8"),
      "N")("seed", "of the held-out samples; default: the run's", text(), "N")(
      "output", "HDF5 file of scores and answers, and JSON beside it", text(), "FILE")(
      "device", "auto, cpu or cuda", cxxopts::value<std::string>()->default_value("auto"), "NAME")("h,help", "this text");
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
