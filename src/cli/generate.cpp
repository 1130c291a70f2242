// SPDX-License-Identifier: Apache-2.0
// braid generate: the likeliest continuation of texts or token ids.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <iostream>

#include "base/error.h"
#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "experiments/fine_tuning.h"
#include "experiments/run.h"
#include "infer/greedy.h"
#include "text/tokenizer_config.h"

namespace braid {

namespace {

constexpr const char* generate_examples = R"(
Examples:
  braid generate --model ~/SmolLM-135M --prompt 'The capital of Peru is'
  braid generate --model ~/SmolLM-135M --adapter runs/adapter --chat --prompt 'What is a rank?'
  braid generate --run runs/tuned --best --prompt - < prompts.txt
  braid generate --model ~/SmolLM-135M --ids 1,4093,253 --ids 1,28 --max-new-tokens 20

Texts are answered one after the other, printed as they come, each ended by a line feed; --prompt -
takes the lines of standard input. A run answers in the form it was trained in unless --format or
--chat says otherwise. With --ids a line of new ids is printed for each. A text ends at an id that
generation_config.json names as eos_token_id, with --prompt also at the tokenizer's end token or
where the model's context does.
Exit codes: 0 done; 1 failed; 2 wrong use, or files that cannot be taken.
)";

struct GenerateRequest {
  ModelOptions model;
  std::vector<std::vector<int64_t>> ids;
  std::vector<std::string> prompts;
  int64_t max_new_tokens = 0;
  bool timings = false;
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

struct Timings {
  size_t later = 0;  // tokens but the first of each text
  double prefill_seconds = 0, decode_seconds = 0;

  void add(const Generated& done) {
    for (const auto& text : done.tokens) later += text.size() - std::min<size_t>(text.size(), 1);
    prefill_seconds += done.prefill_seconds;
    decode_seconds += done.decode_seconds;
  }
};

void tell(const Timings& timings) {
  std::fprintf(stderr, "first tokens after %.4f s, then %.2f tokens/s\n", timings.prefill_seconds,
               timings.later > 0 ? double(timings.later) / timings.decode_seconds : 0.0);
}

void answer_ids(const GenerateRequest& request, AdaptedModel& loaded, Timings& timings) {
  const Generated done = generate_greedy(*loaded.model, request.ids, {request.max_new_tokens, loaded.stop_ids, {}});
  for (const auto& text : done.tokens) std::cout << joined(text) << "\n";
  timings.add(done);
}

// Prints the answer token by token; a character whose bytes have not all come waits for the rest.
void answer_text(const std::string& prompt, const GenerateRequest& request, AdaptedModel& loaded, const ExampleForm& form,
                 const std::vector<int64_t>& stop_ids, Timings& timings) {
  const std::vector<TokenId> tokens = prompt_tokens({{"user", prompt}, {"assistant", ""}}, form);
  const auto room = loaded.model->config().context - static_cast<int64_t>(tokens.size());
  IncrementalDecoder decoder(form.tokenizer);
  const auto print = [&](size_t, int64_t id) {
    const bool end = std::find(stop_ids.begin(), stop_ids.end(), id) != stop_ids.end();
    if (!end) std::cout << decoder.push(static_cast<TokenId>(id)) << std::flush;
  };
  const int64_t most = std::max<int64_t>(std::min(request.max_new_tokens, room), 1);
  timings.add(generate_greedy(*loaded.model, {{tokens.begin(), tokens.end()}}, {most, stop_ids, print}));
  std::cout << decoder.finish() << "\n" << std::flush;
}

void answer_texts(const GenerateRequest& request, AdaptedModel& loaded, Timings& timings) {
  DataConfig data = form_for(request.model, loaded);
  data.end_token = false;  // answers are made here, not ended
  const FineTuningForm opened = open_form(data, loaded.shape);
  const ExampleForm form = opened.form(data);
  std::vector<int64_t> stop_ids = loaded.stop_ids;
  if (const auto end = end_of_text(opened.tokenizer)) stop_ids.push_back(*end);
  for (const std::string& prompt : request.prompts) {
    if (prompt != "-") {
      answer_text(prompt, request, loaded, form, stop_ids, timings);
      continue;
    }
    for (std::string line; std::getline(std::cin, line);) answer_text(line, request, loaded, form, stop_ids, timings);
  }
}

int generate(World& world, const GenerateRequest& request) {
  if (world.size() > 1) throw UsageError("braid generate: runs on one rank");
  choose_threads(world);
  AdaptedModel loaded = load_model(request.model, world);
  Timings timings;
  request.ids.empty() ? answer_texts(request, loaded, timings) : answer_ids(request, loaded, timings);
  std::cout << std::flush;
  if (request.timings) tell(timings);
  return exit_done;
}

GenerateRequest read_request(const cxxopts::ParseResult& parsed) {
  GenerateRequest request;
  if (parsed.count("ids") + parsed.count("prompt") == 0 || (parsed.count("ids") && parsed.count("prompt"))) {
    throw UsageError("braid generate: expected --prompt TEXT or --ids LIST, one of both");
  }
  request.model = read_model_options(parsed);
  if (parsed.count("prompt")) request.prompts = parsed["prompt"].as<std::vector<std::string>>();
  if (parsed.count("ids")) {
    for (const std::string& text : parsed["ids"].as<std::vector<std::string>>()) request.ids.push_back(parse_ids(text));
  }
  if (parsed.count("chat")) {
    if (!request.model.format.empty()) throw UsageError("--chat is --format model; expected one of both");
    request.model.format = "model";
  }
  request.max_new_tokens = parsed["max-new-tokens"].as<int64_t>();
  if (request.max_new_tokens < 0) throw UsageError("--max-new-tokens: expected 0 or more");
  request.timings = parsed.count("timings") > 0;
  return request;
}

}  // namespace

int command_generate(const Arguments& arguments) {
  cxxopts::Options options("braid generate",
                           "The likeliest continuation of texts or token ids by a model, its adapter, or a run.");
  const auto list = [] { return cxxopts::value<std::vector<std::string>>(); };
  options.add_options()("prompt", "a text (repeatable); -: the lines of standard input", list(), "TEXT")(
      "chat", "each prompt is a user's turn, put as the folder's chat template says")(
      "ids", "token ids of a text instead, separated by commas (repeatable)", list(), "LIST")(
      "max-new-tokens", "at most so many for each text", cxxopts::value<int64_t>()->default_value("64"), "N");
  add_model_options(options);
  options.add_options()("timings", "seconds to the first token and tokens per second from there on, on standard error")(
      "h,help", "this text");
  GenerateRequest request;
  if (!parse_arguments(
          options, arguments, [&](const auto& parsed) { request = read_request(parsed); }, generate_examples)) {
    return exit_done;
  }
  return with_world(request.model.world, [&](World& world, Logger&) { return generate(world, request); });
}

}  // namespace braid
