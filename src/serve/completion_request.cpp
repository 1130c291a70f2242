// SPDX-License-Identifier: Apache-2.0
#include "serve/completion_request.h"

#include <algorithm>
#include <random>

#include "base/error.h"
#include "serve/json_word.h"
#include "serve/refusal.h"

namespace braid {

namespace {

using nlohmann::json;

constexpr size_t most_stops = 16, most_stop_characters = 1000;
constexpr int64_t most_prompts = 128;

// Both have these.
const std::vector<std::string>& shared_fields() {
  static const std::vector<std::string> names = {"model",
                                                 "max_tokens",
                                                 "temperature",
                                                 "top_p",
                                                 "n",
                                                 "stream",
                                                 "logprobs",
                                                 "stream_options",
                                                 "presence_penalty",
                                                 "stop",
                                                 "seed",
                                                 "frequency_penalty",
                                                 "min_p",
                                                 "top_k",
                                                 "repetition_penalty",
                                                 "min_tokens",
                                                 "stop_token_ids",
                                                 "ignore_eos"};
  return names;
}

// What changes nothing here, and what was refused already where it would.
const std::vector<std::string>& ignored_fields() {
  static const std::vector<std::string> names = {"user",
                                                 "metadata",
                                                 "store",
                                                 "service_tier",
                                                 "safety_identifier",
                                                 "prompt_cache_key",
                                                 "tools",
                                                 "functions",
                                                 "parallel_tool_calls",
                                                 "tool_choice",
                                                 "function_call",
                                                 "response_format",
                                                 "logit_bias",
                                                 "suffix",
                                                 "modalities"};
  return names;
}

std::vector<std::string> with_shared(std::vector<std::string> names) {
  names.insert(names.end(), shared_fields().begin(), shared_fields().end());
  return names;
}

[[noreturn]] void refuse_unsupported(const std::string& field, const std::string& problem) {
  throw Refusal(400, str(field, ": ", problem), field, "unsupported_parameter");
}

void refuse_tools(const BodyFields& fields) {
  for (const char* name : {"tools", "functions"}) {
    const json* value = fields.find(name);
    if (value && !value->empty()) refuse_unsupported(name, "tools are not supported");
  }
  for (const char* name : {"tool_choice", "function_call"}) {
    const json* value = fields.find(name);
    if (value && !is_one_of(*value, {"none", "auto"})) refuse_unsupported(name, "tools are not supported");
  }
}

void refuse_unsupported_fields(const BodyFields& fields) {
  refuse_tools(fields);
  const json* format = fields.find("response_format");
  if (format && *format != json{{"type", "text"}}) refuse_unsupported("response_format", "only text is supported");
  const json* bias = fields.find("logit_bias");
  if (bias && !bias->empty()) refuse_unsupported("logit_bias", "is not supported");
  const json* suffix = fields.find("suffix");
  if (suffix && !is_word(*suffix, "")) refuse_unsupported("suffix", "is not supported");
  const json* kinds = fields.find("modalities");
  if (kinds && *kinds != json{"text"}) refuse_unsupported("modalities", "only text is supported");
}

void require_model(const BodyFields& fields, const ServedModel& model) {
  const auto name = fields.text("model");
  if (!name || *name == model.name) return;
  throw Refusal(404, str("no model ", *name, "; here is ", model.name), "model", "model_not_found");
}

// As OpenAI's API has it where the model's folder does not say how to draw.
SamplingOptions read_sampling(const BodyFields& fields, const ServedModel& model) {
  SamplingOptions options = model.sampling;
  if (!options.draws()) options.temperature = 1;
  if (const auto value = fields.number("temperature")) options.temperature = *value;
  if (const auto value = fields.number("top_p")) options.top_p = *value;
  if (const auto value = fields.number("min_p")) options.min_p = *value;
  if (const auto value = fields.number("repetition_penalty")) options.repetition_penalty = *value;
  if (const auto value = fields.number("presence_penalty")) options.presence_penalty = *value;
  if (const auto value = fields.number("frequency_penalty")) options.frequency_penalty = *value;
  if (const auto value = fields.whole("top_k", -1, INT64_MAX)) options.top_k = std::max<int64_t>(*value, 0);
  options.seed = fields.seed("seed").value_or(std::random_device{}());
  return options;
}

std::vector<std::string> read_stops(const BodyFields& fields) {
  std::vector<std::string> stops = fields.texts("stop", most_stops);
  for (const std::string& stop : stops) {
    if (stop.empty() || stop.size() > most_stop_characters) {
      fields.refuse("stop", str("texts of 1 to ", most_stop_characters, " bytes"));
    }
  }
  return stops;
}

void read_stream(const BodyFields& fields, Completion& completion) {
  completion.stream = fields.flag("stream").value_or(false);
  const json* options = fields.find("stream_options");
  if (!options) return;
  if (!options->is_object()) fields.refuse("stream_options", "an object");
  if (!completion.stream) fields.refuse("stream_options", "stream: true beside it");
  const BodyFields inner(*options, "stream_options.");
  inner.require_known({"include_usage"}, {"include_obfuscation"});
  completion.include_usage = inner.flag("include_usage").value_or(false);
}

// All of a generation but its prompt.
GenerationRequest read_form(const BodyFields& fields, const ServedModel& model) {
  GenerationRequest form;
  form.sampling = read_sampling(fields, model);
  form.stop_strings = read_stops(fields);
  form.min_tokens = fields.whole("min_tokens", 0, INT64_MAX).value_or(0);
  if (!fields.flag("ignore_eos").value_or(false)) form.stop_ids = model.stop_ids;
  if (const json* ids = fields.find("stop_token_ids")) {
    for (const int64_t id : token_ids(*ids, "stop_token_ids", model.tokenizer.vocabulary()))
      form.stop_ids.push_back(id);
  }
  return form;
}

void check_form(const GenerationRequest& form) {
  for (const SamplingProblem& problem : sampling_problems(form.sampling)) {
    throw Refusal(400, str(problem.field, ": expected ", problem.expected, ", found ", problem.value), problem.field,
                  "invalid_value");
  }
}

// A prompt with all its answers.
void add_answers(Completion& completion, GenerationRequest form, std::vector<int64_t> prompt) {
  form.prompt = std::move(prompt);
  for (int64_t i = 0; i < completion.answers; ++i) {
    form.sampling.answer = i;
    completion.requests.push_back(form);
  }
}

// A string, a list of strings, ids, or lists of ids.
std::vector<json> prompts_of(const BodyFields& fields) {
  const json* prompt = fields.find("prompt");
  if (!prompt) fields.refuse("prompt", "a string, a list of strings, or token ids");
  if (prompt->is_string()) return {*prompt};
  if (!prompt->is_array() || prompt->empty()) fields.refuse("prompt", "a string, a list of strings, or token ids");
  if (prompt->front().is_number()) return {*prompt};
  if (prompt->size() > most_prompts) fields.refuse("prompt", str("at most ", most_prompts, " prompts"));
  return {prompt->begin(), prompt->end()};
}

// The context that prompts are questions to; "" for none.
std::string read_gists(const BodyFields& fields, const ServedModel& model) {
  const std::string name = fields.text("gists").value_or("");
  if (name.empty() || model.pasts.positions.contains(name)) return name;
  throw Refusal(404, str("gists: no ", name, " is kept here (braid serve --gists NAME=FILE)"), "gists",
                "gists_not_found");
}

std::vector<int64_t> prompt_ids(const BodyFields& fields, const ServedModel& model, const json& prompt,
                                const std::string& gists) {
  if (prompt.is_string() && !gists.empty()) return model.pasts.question(prompt.get<std::string>());
  if (prompt.is_string()) return text_tokens(model, prompt.get<std::string>(), SpecialTokens::add);
  if (!prompt.is_array()) fields.refuse("prompt", "a string, a list of strings, or token ids");
  return token_ids(prompt, "prompt", model.tokenizer.vocabulary());
}

std::string echo_of(const ServedModel& model, const json& prompt) {
  if (prompt.is_string()) return prompt.get<std::string>();
  const auto ids = prompt.get<std::vector<TokenId>>();
  return model.tokenizer.decode(ids);
}

void check_answers(const BodyFields& fields, const RequestLimits& limits, int64_t prompts, int64_t answers) {
  if (prompts * answers > limits.answers) {
    fields.refuse("n", str("at most ", limits.answers, " answers to all prompts together"));
  }
}

void read_completion_logprobs(const BodyFields& fields, Completion& completion, GenerationRequest& form) {
  const auto asked = fields.whole("logprobs", 0, most_logprobs);
  completion.logprobs = asked.has_value();
  form.sampling.logprobs = asked.value_or(-1);
  if (asked && fields.flag("echo").value_or(false)) {
    refuse_unsupported("echo", "log probabilities of the prompt are not supported");
  }
}

void read_chat_logprobs(const BodyFields& fields, Completion& completion, GenerationRequest& form) {
  completion.logprobs = fields.flag("logprobs").value_or(false);
  const auto top = fields.whole("top_logprobs", 0, most_logprobs);
  if (top && !completion.logprobs) fields.refuse("top_logprobs", "logprobs: true beside it");
  form.sampling.logprobs = completion.logprobs ? top.value_or(0) : -1;
}

}  // namespace

Completion read_completion(const ServedModel& model, const RequestLimits& limits, const std::string& body) {
  const json object = parse_body(body);
  const BodyFields fields(object);
  refuse_unsupported_fields(fields);
  fields.require_known(with_shared({"prompt", "echo", "best_of", "gists"}), ignored_fields());
  require_model(fields, model);
  Completion completion;
  read_stream(fields, completion);
  completion.answers = fields.whole("n", 1, limits.answers).value_or(1);
  const auto best_of = fields.whole("best_of", 1, INT64_MAX);
  if (best_of && *best_of != completion.answers)
    refuse_unsupported("best_of", "is not supported; n answers are all told");
  GenerationRequest form = read_form(fields, model);
  read_completion_logprobs(fields, completion, form);
  check_form(form);
  const auto asked = fields.whole("max_tokens", 1, INT64_MAX);
  form.past = read_gists(fields, model);
  const int64_t before = form.past.empty() ? 0 : model.pasts.positions.at(form.past);
  const std::vector<json> prompts = prompts_of(fields);
  check_answers(fields, limits, static_cast<int64_t>(prompts.size()), completion.answers);
  for (const json& prompt : prompts) {
    std::vector<int64_t> ids = prompt_ids(fields, model, prompt, form.past);
    check_prompt(model, limits, ids.size(), "prompt", before);
    form.max_tokens = answer_tokens(model, ids.size(), asked, completion_tokens, before);
    if (fields.flag("echo").value_or(false)) completion.echoed.push_back(echo_of(model, prompt));
    add_answers(completion, form, std::move(ids));
  }
  return completion;
}

Completion read_chat_completion(const ServedModel& model, const RequestLimits& limits, const std::string& body) {
  const json object = parse_body(body);
  const BodyFields fields(object);
  refuse_unsupported_fields(fields);
  fields.require_known(with_shared({"messages", "max_completion_tokens", "top_logprobs"}), ignored_fields());
  require_model(fields, model);
  Completion completion;
  completion.chat = true;
  read_stream(fields, completion);
  completion.answers = fields.whole("n", 1, limits.answers).value_or(1);
  GenerationRequest form = read_form(fields, model);
  read_chat_logprobs(fields, completion, form);
  check_form(form);
  auto asked = fields.whole("max_completion_tokens", 1, INT64_MAX);
  if (!asked) asked = fields.whole("max_tokens", 1, INT64_MAX);
  const json* messages = fields.find("messages");
  std::vector<int64_t> ids = chat_tokens(model, messages ? *messages : json(), true);
  check_prompt(model, limits, ids.size(), "messages");
  form.max_tokens = answer_tokens(model, ids.size(), asked, model.context);
  add_answers(completion, form, std::move(ids));
  return completion;
}

}  // namespace braid
