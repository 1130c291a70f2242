// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_gist.h"

#include <iostream>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/error.h"
#include "cli/comma_list.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "experiments/gist_answers.h"
#include "experiments/gist_examine.h"
#include "experiments/gist_training.h"
#include "experiments/run.h"
#include "infer/decode.h"
#include "nn/initialise.h"
#include "nn/kernel_call.h"
#include "nn/precompiled.h"
#include "store/checkpoint_manifest.h"

namespace braid {

namespace {

constexpr const char* bench_examples = R"(
Examples:
  braid bench gist --config configs/gist/passkey_small.toml --lengths 1000,3000
  braid bench gist --run runs/passkey --rounds 9 --device cuda --precision bf16
  launch/bench gist                       # the same as a table, with the crossover

One context of random tokens at a time; an answer has --answer new tokens. A line a round, in
seconds: compress, the context to its gists; answer_gist, a question from these; prefill, the
context into a cache of keys and values; answer_cached, a question from this cache. A model of
--config has random weights.
Exit codes: 0 done; 1 failed; 2 wrong use.
)";

struct GistBench {
  std::string run;
  CommonOptions config;
  std::vector<int64_t> lengths;
  int64_t segment = 0, question = 8, answer = 8, rounds = 5;
  Precision precision = Precision::fp32;
  WorldOptions world;
};

struct BenchModel {
  AdaptedModel loaded;
  GistConfig gist;
};

BenchModel random_model(const GistBench& bench, const at::Device& device) {
  const RunConfig config = read_run_config(open_config(bench.config));
  if (!config.gist.enabled()) throw UsageError(str(bench.config.config_path, ": expected a configuration with [gist]"));
  BenchModel made{{}, config.gist};
  made.loaded.model = std::make_unique<Transformer>(config.model, bench.precision, device);
  made.loaded.gists = std::make_unique<GistModel>(*made.loaded.model, config.gist.count);
  initialise_gist_model(*made.loaded.gists, config);
  return made;
}

BenchModel model_of_run(const GistBench& bench, const at::Device& device) {
  ModelSource source;
  source.run = bench.run;
  BenchModel made{load_adapted_model(source, bench.precision, device), {}};
  if (!made.loaded.gists) throw UsageError(str(bench.run, ": expected a run with [gist], whose model compresses"));
  made.gist = run_config_of(read_manifest(made.loaded.checkpoint), made.loaded.checkpoint).gist;
  return made;
}

// One context and one question, again and again.
class Rounds {
 public:
  Rounds(AdaptedModel& loaded, const GistBench& bench, const SegmentPlan& plan, int64_t length)
      : loaded_(loaded), bench_(bench), plan_(plan), length_(length) {
    const int64_t words = loaded.model->config().vocabulary;
    const auto ids = [&](int64_t tokens) {
      at::Generator generator = seeded_generator(static_cast<uint64_t>(tokens));
      return at::empty({1, tokens}, at::kLong).random_(0, words, generator).to(loaded.model->device());
    };
    context_ = ids(length);
    question_ = ids(bench.question);
  }

  nlohmann::ordered_json once() {
    nlohmann::ordered_json line;
    at::Tensor gists;
    line["compress"] = timed([&] { gists = compress_texts(*loaded_.gists, context_, plan_); });
    line["answer_gist"] = timed([&] {
      const AnswerPast past = past_of_gists(gists, plan_.length + loaded_.gists->count());
      decode_answers(*loaded_.gists, past, question_, bench_.answer);
    });
    KvCache cache = make_kv_cache(*loaded_.model, {0}, length_ + bench_.question + bench_.answer);
    loaded_.model->residual().begin_step();
    line["prefill"] = timed([&] { decode(*loaded_.model, cache, context_); });
    line["answer_cached"] = timed([&] {
      at::Tensor next = question_;
      for (int64_t i = 0; i < bench_.answer; ++i) next = decode(*loaded_.model, cache, next).argmax(-1, true);
    });
    return line;
  }

 private:
  template <class Work>
  double timed(const Work& work) {
    wait_for(loaded_.model->device());
    const Stopwatch watch;
    work();
    wait_for(loaded_.model->device());
    return watch.seconds();
  }

  AdaptedModel& loaded_;
  const GistBench& bench_;
  const SegmentPlan& plan_;
  int64_t length_;
  at::Tensor context_, question_;
};

void measure(BenchModel& made, const GistBench& bench, int64_t length, int64_t round) {
  const int64_t segment = bench.segment > 0 ? bench.segment : made.gist.segment;
  const SegmentPlan plan = plan_segments(length, segment, made.gist.overlap);
  Rounds rounds(made.loaded, bench, plan, length);
  if (round == 0) rounds.once();  // the first of a length takes memory and chooses kernels
  const int64_t gists = plan.segments() * made.loaded.gists->count(), bytes = position_bytes(*made.loaded.model);
  nlohmann::ordered_json line = {{"round", round},
                                 {"length", length},
                                 {"segment", plan.length},
                                 {"segments", plan.segments()},
                                 {"gists", gists},
                                 {"gist_bytes", gists * bytes},
                                 {"context_bytes", length * bytes}};
  line.update(rounds.once());
  std::cout << line.dump() << std::endl;
}

int run_bench(World& world, const GistBench& bench) {
  if (world.size() > 1) throw UsageError("braid bench gist: runs on one rank");
  const at::NoGradGuard no_gradient;
  choose_threads(world);
  BenchModel made = bench.run.empty() ? random_model(bench, device_of(world)) : model_of_run(bench, device_of(world));
  for (int64_t round = 0; round < bench.rounds; ++round) {
    for (const int64_t length : bench.lengths) measure(made, bench, length, round);
  }
  return exit_done;
}

std::vector<int64_t> read_lengths(const std::string& text) {
  const char* const expected = "--lengths: expected numbers of tokens";
  const std::vector<int64_t> lengths = whole_numbers(comma_list(text), 1, expected);
  if (lengths.empty()) throw UsageError(expected);
  return lengths;
}

GistBench read_bench(const cxxopts::ParseResult& parsed) {
  GistBench bench;
  bench.run = text_option(parsed, "run");
  bench.config.config_path = text_option(parsed, "config");
  if (bench.run.empty() == bench.config.config_path.empty()) {
    throw UsageError("braid bench gist: expected --config FILE or --run OUT, one of both");
  }
  if (parsed.count("set")) bench.config.overrides = parsed["set"].as<std::vector<std::string>>();
  if (!bench.run.empty() && !bench.config.overrides.empty()) throw UsageError("--set goes with --config");
  bench.lengths = read_lengths(parsed["lengths"].as<std::string>());
  bench.segment = parsed["segment"].as<int64_t>();
  bench.question = parsed["question"].as<int64_t>();
  bench.answer = parsed["answer"].as<int64_t>();
  bench.rounds = parsed["rounds"].as<int64_t>();
  if (bench.segment < 0) throw UsageError("--segment: expected a number of tokens");
  if (bench.question < 1 || bench.answer < 1) throw UsageError("--question, --answer: expected 1 or more");
  if (bench.rounds < 1) throw UsageError("--rounds: expected 1 or more");
  const bool wide = one_of("precision", parsed["precision"].as<std::string>(), {"fp32", "bf16"}) == "fp32";
  bench.precision = wide ? Precision::fp32 : Precision::bf16;
  bench.world.device = one_of("device", parsed["device"].as<std::string>(), {"auto", "cpu", "cuda"});
  return bench;
}

void add_options(cxxopts::Options& options) {
  const auto text = [](const char* otherwise) { return cxxopts::value<std::string>()->default_value(otherwise); };
  const auto number = [](const char* value) { return cxxopts::value<int64_t>()->default_value(value); };
  options.add_options()("config", "of a model with random weights", cxxopts::value<std::string>(), "FILE")(
      "set", "--config: another value of a key (repeatable)", cxxopts::value<std::vector<std::string>>(), "KEY=VALUE")(
      "run", "a run with [gist] instead, or one of its checkpoints", cxxopts::value<std::string>(), "OUT")(
      "lengths", "contexts in tokens", text("1000,3000"), "N,…")(
      "segment", "tokens that are compressed together; default: gist.segment", number("0"), "N")(
      "question", "tokens of a question", number("8"), "N")("answer", "new tokens of an answer", number("8"), "N")(
      "rounds", "how often all is measured", number("5"), "N")("precision", "fp32 or bf16", text("fp32"), "NAME")(
      "device", "auto, cpu or cuda", text("auto"), "NAME")("h,help", "this text");
}

}  // namespace

int command_bench_gist(const Arguments& arguments) {
  cxxopts::Options options(
      "braid bench gist",
      "Compressing contexts and answering from gists, beside the same model with the whole context.");
  add_options(options);
  GistBench bench;
  const auto use = [&](const cxxopts::ParseResult& parsed) { bench = read_bench(parsed); };
  if (!parse_arguments(options, arguments, use, bench_examples)) return exit_done;
  return with_world(bench.world, [&](World& world, Logger&) { return run_bench(world, bench); });
}

}  // namespace braid
