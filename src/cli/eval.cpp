// SPDX-License-Identifier: Apache-2.0
// braid eval engram: what a model, and what was trained on top of it, answer to the Engram test.
#include <cstdio>
#include <iostream>
#include <optional>

#include "base/error.h"
#include "base/text_table.h"
#include "cli/command.h"
#include "cli/options.h"
#include "comm/agreement.h"
#include "experiments/adapted_model.h"
#include "experiments/engram_file.h"
#include "experiments/fine_tuning.h"
#include "experiments/run.h"
#include "experiments/version.h"
#include "train/train_config.h"

namespace braid {

namespace {

constexpr const char* eval_examples = R"(
Examples:
  braid data engram --patterns data/engram --variant cuda --out runs/engram-data
  braid eval engram --model ~/SmolLM-135M --data runs/engram-data --out runs/base.h5
  braid eval engram --model ~/SmolLM-135M --adapter runs/adapter --data runs/engram-data
  mpirun -n 2 --bind-to none braid eval engram --model ~/SmolLM-135M --data runs/engram-data

With an adapter or a memory the same weights are asked twice, without (base) and with it (tuned).
An answer is right when it begins with what is expected (prefix), or is just that (strict); both
without white space around them. Items are told apart by what train.jsonl has of them: the prompt
itself (verbatim), the same behind another opening (variant), or neither (unseen). The answers do
not depend on the number of ranks.
Exit codes: 0 done; 1 failed; 2 wrong use, or files that cannot be taken.
)";

struct EvalRequest {
  ModelFolders folders;
  std::string data, out;
  DataConfig form;  // how a prompt is put
  TrainConfig numbers;
  int64_t max_new_tokens = 50;
  WorldOptions world;
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

RunAttributes attributes_of(const EvalRequest& request, const World& world) {
  const RankPlace& place = world.places().at(0);
  return {{"model", request.folders.model}, {"adapter", request.folders.adapter},
          {"memory", request.folders.memory},
          {"data", request.data},           {"data_format", request.form.format},
          {"precision", request.numbers.precision}, {"max_new_tokens", request.max_new_tokens},
          {"git_commit", std::string(git_commit())}, {"host", place.host},
          {"device", place.device},         {"world_size", int64_t{world.size()}}};
}

int evaluate_engram(World& world, const EvalRequest& request) {
  choose_threads(world);
  AdaptedModel loaded;
  EngramResult result;
  std::optional<FineTuningForm> opened;
  agree(world.host(), [&] {
    loaded = load_adapted_model(request.folders, request.numbers.numeric(), device_of(world));
    ModelConfig model = loaded.config.model;
    model.path = request.folders.model;
    opened = open_form(request.form, model);
    result.test = read_engram_test(request.data);
  });
  const ExampleForm form = opened->form(request.form);
  EngramAsk ask{form, loaded.config.stop_ids, request.max_new_tokens};
  if (form.end) ask.stop_ids.push_back(*form.end);
  loaded.set_enabled(false);
  result.base = answer_all(*loaded.model, result.test, ask, world.host());
  if (loaded.is_adapted()) {
    loaded.set_enabled(true);
    result.tuned = answer_all(*loaded.model, result.test, ask, world.host());
  }
  agree_on_root(world.host(), [&] {
    if (!request.out.empty()) write_engram_file(request.out, result, attributes_of(request, world));
    print_scores(result);
    print_latency("base", result.base);
    print_latency("tuned", result.tuned);
    std::cout << std::flush;
  });
  return exit_done;
}

void add_options(cxxopts::Options& options) {
  const auto text = [](const char* otherwise) { return cxxopts::value<std::string>()->default_value(otherwise); };
  options.add_options()("test", "engram", cxxopts::value<std::string>())("model", "folder of a Hugging Face Llama", text(""), "DIR")(
      "adapter", "folder of an adapter in peft's format", text(""), "DIR")(
      "memory", "folder of a hash memory (braid checkpoint export --memory)", text(""), "DIR")(
      "data", "folder of test.jsonl and train.jsonl (braid data engram)", text(""), "DIR")(
      "format", "how a prompt is put: raw, alpaca, chatml, zephyr, llama3 or model", text("raw"), "NAME")(
      "tokenizer", "a file tokenizer.json; that of the model's folder unless given", text(""), "FILE")(
      "no-end-token", "answers end at the ids of generation_config.json only")(
      "max-new-tokens", "at most so many for each answer", cxxopts::value<int64_t>()->default_value("50"), "N")(
      "precision", "fp32 or bf16", text("fp32"), "NAME")("device", "auto, cpu or cuda", text("auto"), "NAME")(
      "out", "HDF5 file of answers and scores", text(""), "FILE")("h,help", "this text");
  options.parse_positional({"test"});
  options.positional_help("engram");
}

const std::string& one_of(const std::string& option, const std::string& value, const std::vector<std::string>& known) {
  for (const std::string& name : known) {
    if (name == value) return name;
  }
  std::string names;
  for (const std::string& name : known) names += (names.empty() ? "" : ", ") + name;
  throw UsageError(str("--", option, " ", value, ": expected one of ", names));
}

EvalRequest read_request(const cxxopts::ParseResult& parsed) {
  const auto text = [&](const char* name) { return parsed[name].as<std::string>(); };
  if (!parsed.count("test") || text("test") != "engram" || text("model").empty() || text("data").empty()) {
    throw UsageError("braid eval: expected engram --model DIR --data DIR");
  }
  EvalRequest request{{text("model"), text("adapter"), text("memory")}, text("data"), text("out"), {}, {}, 50, {}};
  request.form.format = one_of("format", text("format"), {"raw", "alpaca", "chatml", "zephyr", "llama3", "model"});
  request.form.tokenizer = text("tokenizer");
  request.form.end_token = parsed.count("no-end-token") == 0;
  request.numbers.precision = one_of("precision", text("precision"), {"fp32", "bf16"});
  request.world.device = one_of("device", text("device"), {"auto", "cpu", "cuda"});
  request.max_new_tokens = parsed["max-new-tokens"].as<int64_t>();
  if (request.max_new_tokens < 1) throw UsageError("--max-new-tokens: expected 1 or more");
  return request;
}

}  // namespace

int command_eval(const Arguments& arguments) {
  cxxopts::Options options("braid eval", "engram: what a model, and its adapter, answer to the Engram test.");
  add_options(options);
  EvalRequest request;
  if (!parse_arguments(options, arguments, [&](const auto& parsed) { request = read_request(parsed); }, eval_examples)) {
    return exit_done;
  }
  return with_world(request.world, [&](World& world, Logger&) { return evaluate_engram(world, request); });
}

}  // namespace braid
