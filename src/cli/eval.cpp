// SPDX-License-Identifier: Apache-2.0
// braid eval engram: what a model, and its adapter, answer to the Engram test.
#include <cstdio>
#include <iostream>
#include <optional>

#include "base/error.h"
#include "base/text_table.h"
#include "cli/command.h"
#include "cli/eval_gist.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "comm/agreement.h"
#include "experiments/engram_demo.h"
#include "experiments/engram_file.h"
#include "experiments/fine_tuning.h"
#include "experiments/hardware.h"
#include "experiments/run.h"
#include "experiments/version.h"
#include "train/memory.h"

namespace braid {

namespace {

constexpr const char* eval_examples = R"(
Examples:
  braid data engram --patterns data/engram --variant cuda --out runs/engram-data
  braid eval engram --model ~/SmolLM-135M --data runs/engram-data --out runs/base.h5
  braid eval engram --model ~/SmolLM-135M --adapter runs/adapter --data runs/engram-data
  braid eval engram --run runs/tuned --best        # on the data it was trained with
  braid eval engram --run runs/tuned --demo --quick
  braid eval runs/passkey --limit 256 --lengths 1000,3000 --output runs/p.h5  # with [gist]
  mpirun -n 2 --bind-to none braid eval engram --model ~/SmolLM-135M --data runs/engram-data

With an adapter or a memory the same weights are asked twice, without it (base) and with it
(tuned). An answer is right when it begins with what is expected (prefix), or is just that
(strict); both without white space around them. Items are told apart by what train.jsonl has of
them: the prompt itself (verbatim), the same behind another opening (variant), or neither (unseen).
The answers do not depend on the number of ranks. --demo shows ten answers with the adapter off and
on, side by side.

braid eval OUT of a run with [gist], or of one of its checkpoints, asks what it answers from
compressed contexts, beside controls: braid eval OUT --help explains its own options.
Exit codes: 0 done; 1 failed; 2 wrong use, or files that cannot be taken.
)";

struct EvalRequest {
  ModelOptions model;
  std::string data, out, protocol;
  bool end_token = true, demo = false, quick = false;
  int64_t max_new_tokens = 50;
};

std::string percent(double share) {
  char text[16];
  std::snprintf(text, sizeof text, "%.1f %%", 100 * share);
  return text;
}

void print_scores(const EngramResult& result) {
  std::vector<std::vector<std::string>> rows = {{"model", "items", "match", "right", "of", "share", "95 % interval"}};
  for (const EngramScoreLine& line : score_lines(result)) {
    const Interval interval = line.share.interval();
    rows.push_back({line.model, line.items, line.match, std::to_string(line.share.right), std::to_string(line.share.of),
                    percent(line.share.value()), percent(interval.low) + " to " + percent(interval.high)});
  }
  std::cout << text_table(rows);
  if (result.tuned.empty()) return;
  const Change change = change_between(judged(result.test, result.base, false), judged(result.test, result.tuned, false));
  char p[32];
  std::snprintf(p, sizeof p, "%.3g", change.p_value);
  std::cout << change.gained << " gained, " << change.lost << " lost (prefix match; McNemar's exact test: p = " << p << ")\n";
}

void print_latency(const char* model, const std::vector<EngramAnswer>& answers) {
  if (answers.empty()) return;
  std::vector<double> whole, prefill;
  for (const EngramAnswer& a : answers) {
    whole.push_back(a.prefill_ms + a.decode_ms);
    prefill.push_back(a.prefill_ms);
  }
  const Latency all = latency_of(whole), first = latency_of(prefill);
  std::printf("%s: an answer takes %.1f ms (median %.1f, 95th percentile %.1f), its first token %.1f ms\n", model, all.mean,
              all.median, all.p95, first.mean);
}

RunAttributes attributes_of(const EvalRequest& request, const AdaptedModel& loaded, const DataConfig& form,
                            const std::string& data, const World& world) {
  const RankPlace& place = world.places().at(0);
  const ModelSource& source = request.model.source;
  const ModelConfig& shape = loaded.model->config();
  const LoraConfig lora = loaded.adapters ? loaded.adapters->config() : LoraConfig();
  const HashMemoryConfig memory = loaded.memory ? loaded.memory->config() : HashMemoryConfig();
  const int64_t alone = count_all(shape, {}, {});
  return {{"protocol", request.protocol},
          {"hardware", hardware_of(world.places())},
          {"parameters", alone},
          {"adapter_parameters", count_all(shape, lora, memory) - alone},
          {"model", source.run.empty() ? source.model : loaded.origin.model.path},
          {"adapter", source.adapter},
          {"memory", source.memory},
          {"run", loaded.checkpoint},
          {"data", data},
          {"data_format", form.format},
          {"precision", request.model.precision},
          {"quantise", shape.quantise},
          {"max_new_tokens", request.max_new_tokens},
          {"git_commit", std::string(git_commit())},
          {"host", place.host},
          {"device", place.device},
          {"world_size", int64_t{world.size()}}};
}

// A model with the form in which it is asked.
struct Opened {
  AdaptedModel loaded;
  DataConfig data;
  std::optional<FineTuningForm> form;

  EngramAsk ask(const ExampleForm& example_form, int64_t max_new_tokens) const {
    EngramAsk ask{example_form, loaded.stop_ids, max_new_tokens};
    if (example_form.end) ask.stop_ids.push_back(*example_form.end);
    return ask;
  }
};

Opened open_model(const EvalRequest& request, const World& world) {
  Opened opened{load_model(request.model, world), {}, {}};
  opened.data = form_for(request.model, opened.loaded);
  opened.data.end_token = opened.data.end_token && request.end_token;
  opened.form = open_form(opened.data, opened.loaded.shape);
  return opened;
}

int show_demo(World& world, const EvalRequest& request) {
  if (world.size() > 1) throw UsageError("braid eval engram --demo: runs on one rank");
  Opened opened = open_model(request, world);
  if (!opened.loaded.is_adapted()) {
    throw UsageError("--demo: expected a model with an adapter, since it shows answers with it off and on: --adapter DIR, or "
                     "--run DIR of a run with [lora] (or a memory)");
  }
  const ExampleForm form = opened.form->form(opened.data);
  const EngramAsk ask = opened.ask(form, demo_new_tokens);
  std::cout << demo_text(run_demo(opened.loaded, ask, request.quick)) << std::flush;
  return exit_done;
}

int evaluate_engram(World& world, const EvalRequest& request) {
  choose_threads(world);
  if (request.demo) return show_demo(world, request);
  Opened opened;
  EngramResult result;
  std::string data = request.data;
  agree(world.host(), [&] {
    opened = open_model(request, world);
    if (data.empty()) data = opened.data.path;
    result.test = read_engram_test(data);
  });
  AdaptedModel& loaded = opened.loaded;
  const ExampleForm form = opened.form->form(opened.data);
  const EngramAsk ask = opened.ask(form, request.max_new_tokens);
  if (loaded.is_adapted()) loaded.set_enabled(false);
  result.base = answer_all(*loaded.model, result.test, ask, world.host());
  if (loaded.is_adapted()) {
    loaded.set_enabled(true);
    result.tuned = answer_all(*loaded.model, result.test, ask, world.host());
  }
  agree_on_root(world.host(), [&] {
    const RunAttributes attributes = attributes_of(request, loaded, opened.data, data, world);
    if (!request.out.empty()) write_engram_file(request.out, result, attributes);
    print_scores(result);
    print_latency("base", result.base);
    print_latency("tuned", result.tuned);
    std::cout << std::flush;
  });
  return exit_done;
}

void add_options(cxxopts::Options& options) {
  const auto text = [] { return cxxopts::value<std::string>(); };
  options.add_options()("test", "engram", cxxopts::value<std::string>());
  add_model_options(options);
  options.add_options()("data", "folder of test.jsonl and train.jsonl (braid data engram); default: the run's", text(), "DIR")(
      "no-end-token", "answers end at the ids of generation_config.json only")(
      "max-new-tokens", "at most so many for each answer", cxxopts::value<int64_t>()->default_value("50"), "N")(
      "protocol", "a name for the file of --out", text(), "NAME")("out", "HDF5 file of answers and scores", text(), "FILE")(
      "demo", "ten answers with the adapter off and on instead of the test")("quick", "--demo: four of them")(
      "h,help", "this text");
  options.parse_positional({"test"});
  options.positional_help("engram");
}

EvalRequest read_request(const cxxopts::ParseResult& parsed) {
  const auto text = [&](const char* name) { return text_option(parsed, name); };
  if (!parsed.count("test") || text("test") != "engram") {
    throw UsageError("braid eval: expected engram --model DIR --data DIR, or engram --run DIR");
  }
  EvalRequest request;
  request.model = read_model_options(parsed);
  request.data = text("data");
  request.out = text("out");
  request.protocol = text("protocol");
  request.demo = parsed.count("demo") > 0;
  request.quick = parsed.count("quick") > 0;
  request.end_token = parsed.count("no-end-token") == 0;
  request.max_new_tokens = parsed["max-new-tokens"].as<int64_t>();
  if (request.max_new_tokens < 1) throw UsageError("--max-new-tokens: expected 1 or more");
  if (request.quick && !request.demo) throw UsageError("--quick goes with --demo");
  if (request.demo && !(request.data + request.out).empty()) throw UsageError("--demo takes no --data and no --out");
  if (request.data.empty() && !request.demo && request.model.source.run.empty()) {
    throw UsageError("braid eval engram: expected --data DIR");
  }
  return request;
}

}  // namespace

int command_eval(const Arguments& arguments) {
  if (names_run(arguments)) return command_eval_gist(arguments);
  cxxopts::Options options("braid eval", "engram: what a model, and its adapter, answer to the Engram test.");
  add_options(options);
  EvalRequest request;
  if (!parse_arguments(options, arguments, [&](const auto& parsed) { request = read_request(parsed); }, eval_examples)) {
    return exit_done;
  }
  return with_world(request.model.world, [&](World& world, Logger&) { return evaluate_engram(world, request); });
}

}  // namespace braid
