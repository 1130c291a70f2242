// SPDX-License-Identifier: Apache-2.0
// braid generate: the likeliest continuation of token ids by a Hugging Face model.
#include <charconv>
#include <cstdio>
#include <iostream>

#include "base/error.h"
#include "cli/command.h"
#include "cli/options.h"
#include "experiments/adapted_model.h"
#include "experiments/run.h"
#include "infer/greedy.h"
#include "train/train_config.h"

namespace braid {

namespace {

constexpr const char* generate_examples = R"(
Examples:
  braid generate --model ~/SmolLM-135M --ids 1,4093,253 --max-new-tokens 20
  braid generate --model ~/SmolLM-135M --ids 1,4093 --ids 1,28,31,9 --precision bf16

Prints a line of new token ids for each --ids, in their order. A text ends after one of the ids
that the folder's generation_config.json names as eos_token_id, which is then the last.
Exit codes: 0 done; 1 failed; 2 wrong use, or a folder that is no Llama.
)";

struct GenerateRequest {
  ModelFolders folders;
  std::string precision;
  std::vector<std::vector<int64_t>> prompts;
  int64_t max_new_tokens = 0;
  bool timings = false;
  WorldOptions world;
};

std::vector<int64_t> parse_ids(const std::string& text) {
  std::vector<int64_t> ids;
  const char* next = text.data();
  const char* end = next + text.size();
  while (next != end) {
    const auto [after, problem] = std::from_chars(next, end, ids.emplace_back());
    const bool more = after != end && *after == ',' && after + 1 != end;
    if (problem != std::errc{} || (after != end && !more)) {
      throw UsageError(str("--ids ", text, ": expected token ids like 1,4093,253"));
    }
    next = more ? after + 1 : after;
  }
  return ids;
}

std::string joined(const std::vector<int64_t>& ids) {
  std::string text;
  for (const int64_t id : ids) text += str(text.empty() ? "" : ",", id);
  return text;
}

void tell_timings(const Generated& done) {
  size_t tokens = 0;
  for (const auto& text : done.tokens) tokens += text.size();
  const size_t later = tokens - std::min(tokens, done.tokens.size());
  std::fprintf(stderr, "first tokens after %.4f s, then %.2f tokens/s\n", done.prefill_seconds,
               later > 0 ? double(later) / done.decode_seconds : 0.0);
}

int generate(World& world, const GenerateRequest& request) {
  if (world.size() > 1) throw UsageError("braid generate: runs on one rank");
  choose_threads(world);
  TrainConfig numbers;
  numbers.precision = request.precision;
  const AdaptedModel loaded = load_adapted_model(request.folders, numbers.numeric(), device_of(world));
  const GreedyOptions options{request.max_new_tokens, loaded.config.stop_ids};
  const Generated done = generate_greedy(*loaded.model, request.prompts, options);
  for (const auto& text : done.tokens) std::cout << joined(text) << "\n";
  std::cout << std::flush;
  if (request.timings) tell_timings(done);
  return exit_done;
}

GenerateRequest read_request(const cxxopts::ParseResult& parsed) {
  GenerateRequest request;
  if (!parsed.count("model") || !parsed.count("ids"))
    throw UsageError("braid generate: expected --model DIR --ids LIST");
  const auto folder = [&](const char* option) { return parsed[option].as<std::string>(); };
  request.folders = {folder("model"), folder("adapter"), folder("memory")};
  for (const std::string& text : parsed["ids"].as<std::vector<std::string>>())
    request.prompts.push_back(parse_ids(text));
  request.max_new_tokens = parsed["max-new-tokens"].as<int64_t>();
  if (request.max_new_tokens < 0) throw UsageError("--max-new-tokens: expected 0 or more");
  request.precision = parsed["precision"].as<std::string>();
  if (request.precision != "fp32" && request.precision != "bf16") {
    throw UsageError(str("--precision ", request.precision, ": expected fp32 or bf16"));
  }
  request.timings = parsed.count("timings") > 0;
  request.world.device = parsed["device"].as<std::string>();
  const std::string& device = request.world.device;
  if (device != "auto" && device != "cpu" && device != "cuda") {
    throw UsageError(str("--device ", device, ": expected auto, cpu or cuda"));
  }
  return request;
}

}  // namespace

int command_generate(const Arguments& arguments) {
  cxxopts::Options options("braid generate",
                           "The likeliest continuation of token ids by a model, with a key-value cache.");
  const auto folder = [] { return cxxopts::value<std::string>()->default_value(""); };
  options.add_options()("model", "folder of a Hugging Face Llama", cxxopts::value<std::string>(), "DIR")(
      "adapter", "folder of an adapter in peft's format", folder(), "DIR")(
      "memory", "folder of a hash memory (braid checkpoint export --memory)", folder(), "DIR")(
      "ids", "token ids of a text, separated by commas (repeatable)", cxxopts::value<std::vector<std::string>>(),
      "LIST")("max-new-tokens", "at most so many for each text", cxxopts::value<int64_t>()->default_value("64"), "N")(
      "precision", "fp32 or bf16", cxxopts::value<std::string>()->default_value("fp32"), "NAME")(
      "device", "auto, cpu or cuda; auto takes a GPU where there is one",
      cxxopts::value<std::string>()->default_value("auto"),
      "NAME")("timings", "seconds to the first token and tokens per second from there on, on standard error")(
      "h,help", "this text");
  GenerateRequest request;
  if (!parse_arguments(
          options, arguments, [&](const auto& parsed) { request = read_request(parsed); }, generate_examples)) {
    return exit_done;
  }
  return with_world(request.world, [&](World& world, Logger&) { return generate(world, request); });
}

}  // namespace braid
