// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_decode.h"

#include <ATen/Parallel.h>
#include <c10/core/DeviceGuard.h>

#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/clock.h"
#include "base/error.h"
#include "base/philox.h"
#include "base/statistics.h"
#include "cli/comma_list.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "comm/gpu_assignment.h"
#include "experiments/fine_tuning.h"
#include "experiments/hardware.h"
#include "experiments/run.h"
#include "infer/decode_timing.h"
#include "infer/kv_cache.h"
#include "nn/precompiled.h"
#include "train/memory.h"
#include "train/train_config.h"

namespace braid {

namespace {

constexpr const char* bench_examples = R"(
Examples:
  braid bench decode ~/TinyLlama --precision bf16
  braid bench decode --model ~/TinyLlama --device cpu,cuda:0,cuda:1 --tokens 5,20,50
  braid bench decode --model ~/TinyLlama --quantise nf4 --streams 1,2,4,8,16 --prompt 'Once upon'
  launch/bench decode                     # beside transformers and bitsandbytes, as a table

A line for each device, number of tokens, of streams, and round, all from one prompt and seed, asked of
an engine as braid generate and braid serve ask it. Seconds: load, of the weights; first_request, the
first answer of all, of as many tokens; first_token, the prompt and each stream's first token;
between_tokens, the median step after it. shares: of all steps' time, the model, choosing tokens, ids to
text. A step reads all weights and the streams' keys and values: read_bytes, and read_share of the
bandwidth at which this device was measured to read just before and after. More than 100 % is an error;
what fits into a processor's caches has no share. speedup_over_cpu: where the CPU is among the devices.
Exit codes: 0 done; 1 failed; 2 wrong use.
)";

struct DecodeBench {
  ModelOptions model;
  std::vector<std::string> devices;
  std::vector<int64_t> tokens, streams, ids;
  std::string prompt;
  int64_t prompt_tokens = 0, rounds = 0;
  SamplingOptions sampling;
};

std::vector<std::string> split(const std::string& option, const std::string& text) {
  std::vector<std::string> words = comma_list(text);
  if (words.empty()) throw UsageError(str("--", option, ": expected a comma list"));
  return words;
}

std::vector<int64_t> numbers_of(const cxxopts::ParseResult& parsed, const std::string& option, int64_t least) {
  const std::vector<std::string> words = split(option, parsed[option].as<std::string>());
  return whole_numbers(words, least, str("--", option, ": expected numbers from ", least));
}

// "cpu", or "cuda:1" of `gpus`.
at::Device device_named(const std::string& name, const std::vector<GpuInfo>& gpus) {
  if (name == "cpu") return at::kCPU;
  const std::string number = name.starts_with("cuda:") ? name.substr(5) : name == "cuda" ? "0" : "";
  if (number.empty() || number.size() > 3 || number.find_first_not_of("0123456789") != std::string::npos) {
    throw UsageError(str("--device: ", name, ": expected cpu, cuda:0, cuda:1, …"));
  }
  const size_t index = std::stoul(number);
  if (index >= gpus.size()) throw UsageError(str("--device: ", name, ": there are ", gpus.size(), " usable GPUs here"));
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index));
}

DecodeBench read_bench(const cxxopts::ParseResult& parsed) {
  DecodeBench bench;
  bench.model = read_model_options(parsed, "auto");
  bench.devices = split("device", parsed["device"].as<std::string>());
  bench.tokens = numbers_of(parsed, "tokens", 1);
  bench.streams = numbers_of(parsed, "streams", 1);
  bench.prompt = text_option(parsed, "prompt");
  if (parsed.count("ids")) bench.ids = numbers_of(parsed, "ids", 0);
  if (!bench.ids.empty() && !bench.prompt.empty()) throw UsageError("--prompt and --ids: expected one of both");
  bench.prompt_tokens = parsed["prompt-tokens"].as<int64_t>();
  bench.rounds = parsed["rounds"].as<int64_t>();
  if (bench.prompt_tokens < 1 || bench.rounds < 1) throw UsageError("--prompt-tokens, --rounds: expected 1 or more");
  bench.sampling.temperature = parsed["temperature"].as<double>();
  bench.sampling.seed = parsed["seed"].as<uint64_t>();
  check_sampling(bench.sampling);
  return bench;
}

nlohmann::ordered_json identity(const at::Device& device, const std::vector<GpuInfo>& gpus) {
  if (device.is_cpu()) return {{"device", "cpu"}, {"device_name", processor_name()}, {"threads", at::get_num_threads()}};
  const GpuInfo& gpu = gpus.at(static_cast<size_t>(device.index()));
  return {{"device", str("cuda:", int(device.index()))}, {"device_name", gpu.name}, {"uuid", gpu.uuid}, {"pci", gpu.pci}};
}

// One device: its model, and what was asked of it.
class DeviceBench {
 public:
  DeviceBench(const DecodeBench& bench, const at::Device& device) : bench_(bench), device_(device) {
    TrainConfig numbers;
    numbers.precision = bench.model.precision;
    const Stopwatch watch;
    loaded_ = load_adapted_model(bench.model.source, numbers.numeric(), device);
    load_seconds_ = watch.seconds();
    open_prompt();
    request_.sampling = bench.sampling;
  }

  nlohmann::ordered_json once(int64_t tokens, int64_t streams) {
    request_.max_tokens = tokens;
    const Tokenizer* tokenizer = form_ ? &form_->tokenizer : nullptr;
    if (!first_request_) first_request_ = first_request(tokens);
    const double before = read_bandwidth(device_);
    const DecodeTiming timing = time_decoding(*loaded_.model, request_, streams, tokenizer);
    return line(timing, streams, std::max(before, read_bandwidth(device_)));
  }

 private:
  double first_request(int64_t tokens) {
    const Stopwatch watch;
    request_.max_tokens = tokens;
    time_decoding(*loaded_.model, request_, 1, nullptr);
    return watch.seconds();
  }

  // A text, ids, or random ones that are the same on every device.
  void open_prompt() {
    if (!bench_.prompt.empty() || !loaded_.shape.path.empty()) open_form_if_there();
    if (!bench_.prompt.empty()) {
      if (!form_) throw UsageError("--prompt: the model has no tokenizer; --prompt-tokens takes random ids");
      for (const TokenId id : form_->tokenizer.encode(bench_.prompt)) request_.prompt.push_back(id);
      return;
    }
    request_.prompt = bench_.ids;
    if (!bench_.ids.empty()) return;
    const RandomStream stream(bench_.sampling.seed, RandomPurpose::sampling, "prompt");
    for (int64_t i = 0; i < bench_.prompt_tokens; ++i) {
      request_.prompt.push_back(stream.below(i, loaded_.model->config().vocabulary));
    }
  }

  void open_form_if_there() {
    try {
      DataConfig data = form_for(bench_.model, loaded_);
      data.end_token = false;
      form_.emplace(open_form(data, loaded_.shape));
    } catch (const UsageError&) {
      if (!bench_.prompt.empty()) throw;
    }
  }

  nlohmann::ordered_json line(const DecodeTiming& timing, int64_t streams, double bandwidth) {
    const double step = timing.steps.empty() ? 0 : percentile(timing.steps, 50);
    const double all = timing.forward + timing.sampling + timing.text;
    const auto kept = double(request_.prompt.size()) + double(request_.max_tokens) / 2;
    const int64_t weights = weight_bytes_read(*loaded_.model);
    const double read = double(weights) + kept * double(streams * position_bytes(*loaded_.model));
    nlohmann::ordered_json line = {{"streams", streams},
                                   {"prompt_tokens", request_.prompt.size()},
                                   {"tokens", request_.max_tokens},
                                   {"load_seconds", load_seconds_},
                                   {"first_request_seconds", *first_request_},
                                   {"first_token_seconds", timing.first_token}};
    if (step > 0) {
      line["between_tokens_seconds"] = step;
      line["between_tokens_p95_seconds"] = percentile(timing.steps, 95);
      line["tokens_per_second"] = double(streams) / step;
    }
    line["shares"] = {
        {"forward", timing.forward / all}, {"sampling", timing.sampling / all}, {"text", timing.text / all}};
    add_engine(timing.engine, line);
    line.update({{"weight_bytes", weights}, {"read_bytes", read}, {"bytes_per_token", read / double(streams)}});
    if (step > 0) line["read_bytes_per_second"] = read / step;
    line["measured_read_bytes_per_second"] = bandwidth;
    line["read_share"] = step > 0 && is_beyond_caches(weights) ? nlohmann::ordered_json(read / step / bandwidth) : nullptr;
    line["ids"] = timing.answer.ids();
    if (form_) line["text"] = timing.answer.text;
    return line;
  }

  static void add_engine(const EngineState& engine, nlohmann::ordered_json& line) {
    line["memory_bytes"] = {{"weights", engine.weight_bytes},
                            {"cache", engine.cache_bytes},
                            {"workspace", engine.workspace_bytes},
                            {"peak", engine.peak_bytes}};
    line["recorded_sizes"] = engine.recorded_sizes;
    if (!engine.recording_problem.empty()) line["recording_problem"] = engine.recording_problem;
  }

  bool is_beyond_caches(int64_t bytes) const {
    constexpr int64_t of_gpus = int64_t{256} << 20;
    return bytes > (device_.is_cpu() ? bytes_beyond_caches() : of_gpus);
  }

  const DecodeBench& bench_;
  at::Device device_;
  AdaptedModel loaded_;
  std::optional<FineTuningForm> form_;
  GenerationRequest request_;
  double load_seconds_ = 0;
  std::optional<double> first_request_;
};

using CpuSpeeds = std::map<std::pair<int64_t, int64_t>, std::vector<double>>;  // by tokens and streams

void tell(nlohmann::ordered_json line, CpuSpeeds& cpu) {
  const double speed = line.value("tokens_per_second", 0.0);
  std::vector<double>& of_cpu = cpu[{line["tokens"].get<int64_t>(), line["streams"].get<int64_t>()}];
  if (line["device"] == "cpu" && speed > 0) of_cpu.push_back(speed);
  if (!of_cpu.empty() && speed > 0) line["speedup_over_cpu"] = speed / percentile(of_cpu, 50);
  std::cout << line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << std::endl;
  if (line["read_share"].is_number() && line["read_share"].get<double>() > 1) {
    throw Error(str("braid bench decode: ", 100 * line["read_share"].get<double>(),
                    " % of the measured bandwidth: what was measured or counted is wrong"));
  }
}

int run_bench(World& world, const DecodeBench& bench) {
  if (world.size() > 1) throw UsageError("braid bench decode: runs on one rank");
  choose_threads(world);
  const std::vector<GpuInfo> gpus = visible_gpus();
  for (const std::string& name : bench.devices) device_named(name, gpus);  // refused before anything is loaded
  CpuSpeeds cpu;
  for (const std::string& name : bench.devices) {
    const at::Device device = device_named(name, gpus);
    const c10::OptionalDeviceGuard guard(device.is_cpu() ? std::nullopt : std::optional(device));
    DeviceBench on(bench, device);
    keep_freed_memory();  // as generate does
    for (int64_t round = 0; round < bench.rounds; ++round) {
      for (const int64_t tokens : bench.tokens) {
        for (const int64_t streams : bench.streams) {
          nlohmann::ordered_json line = identity(device, gpus);
          line.update({{"precision", bench.model.precision}, {"round", round}});
          line.update(on.once(tokens, streams));
          tell(std::move(line), cpu);
        }
      }
    }
  }
  return exit_done;
}

void add_options(cxxopts::Options& options) {
  const auto text = [](const char* otherwise) { return cxxopts::value<std::string>()->default_value(otherwise); };
  const auto number = [](const char* value) { return cxxopts::value<int64_t>()->default_value(value); };
  options.add_options()("device,devices", "comma list of cpu, cuda:0, cuda:1, …, one after the other", text("cpu"), "NAMES")(
      "tokens", "comma list of new tokens of an answer", text("20"), "N,…")(
      "streams", "comma list of answers made beside each other", text("1"), "N,…")(
      "prompt", "a text; needs a tokenizer", cxxopts::value<std::string>(), "TEXT")(
      "ids", "or token ids", cxxopts::value<std::string>(), "N,…")(
      "prompt-tokens", "or so many random ids", number("16"), "N")(
      "temperature", "0: the likeliest token", cxxopts::value<double>()->default_value("0"), "T")(
      "seed", "of draws and of random ids", cxxopts::value<uint64_t>()->default_value("0"), "N")(
      "rounds", "how often all is measured", number("3"), "N");
  options.parse_positional({"model"});
  options.positional_help("MODEL");
}

}  // namespace

int command_bench_decode(const Arguments& arguments) {
  cxxopts::Options options("braid bench decode",
                           "How fast a model answers, by device, length and number of streams, and of what memory's\n"
                           "bandwidth allows.");
  add_options(options);
  add_model_options(options, /*with_device=*/false);
  options.add_options()("h,help", "this text");
  DecodeBench bench;
  const auto use = [&](const cxxopts::ParseResult& parsed) { bench = read_bench(parsed); };
  if (!parse_arguments(options, arguments, use, bench_examples)) return exit_done;
  const bool only_cpu = bench.devices == std::vector<std::string>{"cpu"};
  bench.model.world.device = only_cpu ? "cpu" : "auto";
  return with_world(bench.model.world, [&](World& world, Logger&) { return run_bench(world, bench); });
}

}  // namespace braid
