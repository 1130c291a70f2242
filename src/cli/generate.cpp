// SPDX-License-Identifier: Apache-2.0
// braid generate: continuations of texts or token ids, the likeliest or drawn.
#include <algorithm>
#include <iostream>

#include "base/error.h"
#include "cli/command.h"
#include "cli/generate_output.h"
#include "cli/generate_request.h"
#include "cli/options.h"
#include "cli/speculation_request.h"
#include "experiments/fine_tuning.h"
#include "experiments/gist_asking.h"
#include "experiments/gist_cache.h"
#include "experiments/run.h"
#include "infer/generate.h"
#include "text/tokenizer_config.h"
#include "train/memory.h"

namespace braid {

namespace {

constexpr const char* generate_examples = R"(
Examples:
  braid generate ~/SmolLM-135M --prompt 'The capital of Peru is'
  braid generate --model ~/SmolLM-135M --adapter runs/adapter --chat --prompt 'What is a rank?'
  braid generate --run runs/tuned --best --prompt - < prompts.txt
  braid generate --model ~/SmolLM-135M --ids 1,4093,253 --ids 1,28 --max-new-tokens 20
  braid generate --model ~/SmolLM-135M --prompt 'Once' --temperature 0.8 --top-p 0.95 --seed 1 --n 4
  braid generate --run runs/tuned --prompt 'Q: Why?' --stop 'Q:' --json --logprobs 5
  braid generate --model ~/SmolLM-1.7B --prompt - --speculate draft --draft ~/SmolLM-135M --timings
  braid generate --run runs/text --gists runs/cache.h5 --context 3 --prompt 'What is the passkey?'

Texts are answered one after the other, printed as they come, each ended by a line feed; --prompt -
takes the lines of standard input. A run answers in the form it was trained in unless --format or
--chat says otherwise. With --ids a line of new ids is printed for each. A text ends at an id that
generation_config.json names as eos_token_id, with --prompt also at the tokenizer's end token or
where the model's context does.
Sampling options that are not given are as generation_config.json has them, as transformers reads
it: do_sample, temperature, top_k (50 where do_sample is true and it names none), top_p, min_p,
repetition_penalty. Without do_sample: true the likeliest token is taken. Order: penalties,
temperature, top-k, top-p, min-p. Answer i draws its token s from the seed, i and s alone.
--speculate proposes several tokens at a time; answers stay the same.
--gists answers behind a context that braid gist compress has compressed, as braid gist ask does:
the prompt is a question to it, put as the run was trained to be asked.
Exit codes: 0 done; 1 failed; 2 wrong use, or files that cannot be taken.
)";

// What all prompts are asked with.
struct Asking {
  const GenerateRequest& request;
  Transformer& model;
  GenerationRequest form;      // without a prompt
  const Tokenizer* tokenizer;  // null with --ids
  GenerationAids aids;
  const GistAsking* gists;  // null without any
  GenerationTimings timings;
  std::string recording_problem;  // that was told
};

std::vector<GenerationRequest> answers_to(const Asking& asking, std::vector<int64_t> prompt) {
  GenerationRequest one = asking.form;
  one.prompt = std::move(prompt);
  std::vector<GenerationRequest> all(static_cast<size_t>(asking.request.answers), one);
  for (size_t i = 0; i < all.size(); ++i) all[i].sampling.answer = static_cast<int64_t>(i);
  return all;
}

// Prompts from number `first` on, each with its answers beside each other.
void print(const Asking& asking, const std::vector<GenerationRequest>& requests, const Generated& done, size_t first) {
  const auto each = static_cast<size_t>(asking.request.answers);
  for (size_t i = 0; i < requests.size(); i += each) {
    const std::span<const Answer> answers(&done.answers[i], each);
    if (asking.request.json) {
      std::cout << answers_as_json({first + i / each, requests[i], answers}, asking.tokenizer);
      continue;
    }
    for (const Answer& answer : answers) std::cout << (asking.tokenizer ? answer.text : joined(answer.ids())) << "\n";
  }
  std::cout << std::flush;
}

void answer(Asking& asking, const std::vector<GenerationRequest>& requests, size_t first) {
  const auto each = static_cast<size_t>(asking.request.answers);
  const bool plain = asking.tokenizer && each == 1 && !asking.request.json;
  const auto tell = [&](size_t at, const SampledToken& token, const std::string& text) {
    if (plain) std::cout << text << std::flush;
    if (!asking.request.json || !asking.request.stream) return;
    std::cout << piece_as_json(first + at / each, at % each, token.id, text) << std::flush;
  };
  const Generated done = generate(asking.model, requests, asking.tokenizer, tell, asking.aids);
  if (asking.recording_problem.empty() && !done.recording_problem.empty()) {
    asking.recording_problem = done.recording_problem;
    std::cerr << "braid: " << done.recording_problem << std::endl;
  }
  asking.timings.add(done);
  if (plain) {
    std::cout << "\n" << std::flush;
  } else {
    print(asking, requests, done, first);
  }
}

// All at once.
void answer_ids(Asking& asking) {
  std::vector<GenerationRequest> requests;
  for (const auto& prompt : asking.request.ids) {
    for (GenerationRequest& one : answers_to(asking, prompt)) requests.push_back(std::move(one));
  }
  answer(asking, requests, 0);
}

std::vector<int64_t> tokens_of(const Asking& asking, const std::string& prompt, const ExampleForm& form) {
  if (asking.gists) return asking.gists->question(prompt);
  const std::vector<TokenId> tokens = prompt_tokens({{"user", prompt}, {"assistant", ""}}, form);
  return {tokens.begin(), tokens.end()};
}

void answer_text(Asking& asking, const std::string& prompt, const ExampleForm& form, size_t number) {
  const std::vector<int64_t> tokens = tokens_of(asking, prompt, form);
  const int64_t before = asking.aids.past ? asking.aids.past->next_position : 0;
  const auto room = asking.model.config().context - before - static_cast<int64_t>(tokens.size());
  std::vector<GenerationRequest> requests = answers_to(asking, tokens);
  for (GenerationRequest& one : requests) one.max_tokens = std::min(one.max_tokens, std::max<int64_t>(room, 1));
  answer(asking, requests, number);
}

void answer_texts(Asking& asking, const AdaptedModel& loaded) {
  DataConfig data = form_for(asking.request.model, loaded);
  data.end_token = false;  // answers are made here, not ended
  const FineTuningForm opened = open_form(data, loaded.shape);
  const ExampleForm form = opened.form(data);
  asking.tokenizer = &opened.tokenizer;
  if (const auto end = end_of_text(opened.tokenizer)) asking.form.stop_ids.push_back(*end);
  size_t number = 0;
  for (const std::string& prompt : asking.request.prompts) {
    if (prompt != "-") {
      answer_text(asking, prompt, form, number++);
      continue;
    }
    for (std::string line; std::getline(std::cin, line);) answer_text(asking, line, form, number++);
  }
  asking.tokenizer = nullptr;
}

// A context of a cache that these weights made.
struct OpenedGists {
  GistAsking asking;
  KeptPast past;
};

std::optional<OpenedGists> open_gists(const GenerateRequest& request, AdaptedModel& loaded) {
  if (request.gists.empty()) return std::nullopt;
  OpenedGists opened{gist_asking_of(loaded), {}};
  const GistCache cache = read_gist_cache(request.gists);
  require_same_weights(cache, loaded, request.gists);
  if (request.context < 0 && cache.size() > 1) {
    throw UsageError(str(request.gists, ": has contexts 0 to ", cache.size() - 1, ": expected --context I"));
  }
  const int64_t context = std::max<int64_t>(request.context, 0);
  require_context(cache, context, "--context: " + request.gists);
  opened.past = kept_past_of(cache, context);
  return opened;
}

int generate_command(World& world, const GenerateRequest& request) {
  if (world.size() > 1) throw UsageError("braid generate: runs on one rank");
  choose_threads(world);
  AdaptedModel loaded = load_model(request.model, world);
  const std::optional<AdaptedModel> draft = load_draft(request.speculation, request.model, loaded, world);
  const std::optional<OpenedGists> gists = open_gists(request, loaded);
  keep_freed_memory();  // of a prompt's pieces, layer after layer; what loading took has been given back
  const GenerationAids aids{request.speculation.options, draft ? draft->model.get() : nullptr,
                            gists ? &gists->past : nullptr};
  Asking asking{request, *loaded.model, {}, nullptr, aids, gists ? &gists->asking : nullptr, {}, {}};
  asking.timings.speculates = aids.speculation.proposer != Proposer::none;
  asking.form.sampling = sampling_for(request, folder_sampling(loaded));
  asking.form.max_tokens = request.max_new_tokens;
  asking.form.min_tokens = request.min_new_tokens;
  asking.form.stop_ids = gists ? gists->asking.stop_ids : loaded.stop_ids;
  asking.form.stop_strings = request.stop_strings;
  request.ids.empty() ? answer_texts(asking, loaded) : answer_ids(asking);
  if (request.timings) asking.timings.tell();
  return exit_done;
}

// --n is what APIs call it, and cxxopts takes no long option of one letter.
Arguments with_n_spelled_out(Arguments arguments) {
  for (std::string& argument : arguments) {
    if (argument == "--n" || argument.starts_with("--n=")) argument.replace(0, 3, "--answers");
  }
  return arguments;
}

}  // namespace

int command_generate(const Arguments& given) {
  const Arguments arguments = with_n_spelled_out(given);
  cxxopts::Options options(
      "braid generate", "Continues texts or token ids by a model, its adapter, or a run: the likeliest way, or drawn.");
  add_generate_options(options);
  add_speculation_options(options);
  add_model_options(options);
  options.add_options()("timings", "seconds to the first token and tokens per second from there on, on standard error")(
      "h,help", "this text");
  GenerateRequest request;
  if (!parse_arguments(
          options, arguments, [&](const auto& parsed) { request = read_generate_request(parsed); },
          generate_examples)) {
    return exit_done;
  }
  return with_world(request.model.world, [&](World& world, Logger&) { return generate_command(world, request); });
}

}  // namespace braid
