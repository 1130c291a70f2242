// SPDX-License-Identifier: Apache-2.0
#include "cli/model_options.h"

#include <filesystem>
#include <iostream>

#include "base/error.h"
#include "cli/command.h"
#include "cli/options.h"
#include "experiments/run.h"
#include "train/train_config.h"

namespace braid {

void add_model_options(cxxopts::Options& options, bool with_device) {
  const auto text = [] { return cxxopts::value<std::string>(); };
  options.add_options()("model", "folder of a Hugging Face Llama", text(), "DIR")(
      "adapter", "folder of an adapter in peft's format, for --model", text(), "DIR")(
      "memory", "folder of a hash memory (braid checkpoint export --memory), for --model", text(), "DIR")(
      "run", "a run, instead of --model: its newest checkpoint that verifies; or one checkpoint", text(), "DIR")(
      "step", "the run's checkpoint of so many updates, not the newest", cxxopts::value<int64_t>(), "N")(
      "best", "the run's checkpoint with the lowest held-out loss (checkpoint.keep_best)")(
      "format", "how a prompt is put: raw, alpaca, chatml, zephyr, llama3, or model: the folder's chat template "
                "(default: as the run was trained, else raw)", text(), "NAME")(
      "tokenizer", "a file tokenizer.json (default: the model's own)", text(), "FILE")(
      "precision", "fp32 or bf16", text()->default_value("fp32"), "NAME")(
      "quantise", "nf4: hold dense projections in 4 bits, as bitsandbytes does; none (default: as the run or the "
                  "folder has them)", text(), "NAME");
  if (!with_device) return;
  options.add_options()("device", "auto, cpu or cuda; auto takes a GPU where there is one", text()->default_value("auto"),
                        "NAME");
}

namespace {

ModelSource read_source(const cxxopts::ParseResult& parsed) {
  const auto text = [&](const char* name) { return text_option(parsed, name); };
  ModelSource source{text("model"), text("adapter"), text("run"), {}, text("quantise"), text("memory")};
  if (source.model.empty() == source.run.empty()) throw UsageError("expected --model DIR or --run DIR, one of both");
  if (!(source.adapter + source.memory).empty() && source.model.empty()) {
    throw UsageError("--adapter and --memory go with --model; a run has its own");
  }
  if (parsed.count("step")) source.choice.step = parsed["step"].as<int64_t>();
  source.choice.best = parsed.count("best") > 0;
  if (!source.quantise.empty()) one_of("quantise", source.quantise, {"none", "nf4"});
  const bool chosen = source.choice.best || source.choice.step;
  if (chosen && source.run.empty()) throw UsageError("--step and --best choose a checkpoint of --run DIR");
  if (source.choice.best && source.choice.step) throw UsageError("--step and --best: expected one of both");
  return source;
}

}  // namespace

ModelOptions read_model_options(const cxxopts::ParseResult& parsed, const std::string& device) {
  const auto text = [&](const char* name) { return text_option(parsed, name); };
  ModelOptions options;
  options.source = read_source(parsed);
  options.tokenizer = text("tokenizer");
  options.format = text("format");
  if (!options.format.empty()) one_of("format", options.format, {"raw", "alpaca", "chatml", "zephyr", "llama3", "model"});
  options.precision = one_of("precision", parsed["precision"].as<std::string>(), {"fp32", "bf16"});
  const std::string asked = device.empty() ? parsed["device"].as<std::string>() : device;
  options.world.device = one_of("device", asked, {"auto", "cpu", "cuda"});
  return options;
}

AdaptedModel load_model(const ModelOptions& options, const World& world) {
  TrainConfig numbers;
  numbers.precision = options.precision;
  AdaptedModel loaded = load_adapted_model(options.source, numbers.numeric(), device_of(world));
  for (const std::string& note : loaded.notes) {
    if (world.rank() == 0) std::cerr << "braid: " << note << std::endl;
  }
  return loaded;
}

DataConfig form_for(const ModelOptions& options, const AdaptedModel& loaded) {
  DataConfig data = loaded.data;
  std::error_code problem;
  const bool own = std::filesystem::exists(loaded.shape.path + "/tokenizer.json", problem);
  if (own || !options.tokenizer.empty()) data.tokenizer = options.tokenizer;
  if (!options.format.empty()) data.format = options.format;
  if (data.tokenizer.empty() && !own) {
    throw UsageError(str("--tokenizer FILE: expected a file tokenizer.json, since ",
                         loaded.checkpoint.empty() ? loaded.shape.path : loaded.checkpoint, " comes without one"));
  }
  return data;
}

SamplingOptions folder_sampling(const AdaptedModel& loaded) {
  const std::string& folder = loaded.checkpoint.empty() ? loaded.shape.path : loaded.checkpoint;
  const std::string where = folder + "/generation_config.json";
  const SamplingDefaults defaults = sampling_defaults(loaded.origin.generation_text, where);
  for (const std::string& field : defaults.left_out) {
    std::cerr << "braid: " << where << ": " << field << " is not built and is left out" << std::endl;
  }
  return defaults.options;
}

std::string text_option(const cxxopts::ParseResult& parsed, const std::string& name) {
  return parsed.count(name) ? parsed[name].as<std::string>() : "";
}

}  // namespace braid
