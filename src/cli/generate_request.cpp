// SPDX-License-Identifier: Apache-2.0
#include "cli/generate_request.h"

#include <algorithm>
#include <charconv>
#include <random>

#include "base/error.h"
#include "cli/options.h"

namespace braid {

namespace {

constexpr int64_t most_answers = 256;

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

std::string option_of(std::string field) {
  std::replace(field.begin(), field.end(), '_', '-');
  return "--" + field;
}

template <class T>
std::optional<T> given(const cxxopts::ParseResult& parsed, const char* name) {
  return parsed.count(name) ? std::optional<T>(parsed[name].as<T>()) : std::nullopt;
}

std::vector<std::string> texts(const cxxopts::ParseResult& parsed, const char* name) {
  return given<std::vector<std::string>>(parsed, name).value_or(std::vector<std::string>());
}

int64_t whole(const cxxopts::ParseResult& parsed, const char* name, int64_t least, int64_t most) {
  const auto value = parsed[name].as<int64_t>();
  if (value >= least && value <= most) return value;
  throw UsageError(most == INT64_MAX
                       ? str("--", name, ": expected ", least, " or more")
                       : str("--", name, " ", value, ": expected a whole number from ", least, " to ", most));
}

GivenSampling read_sampling(const cxxopts::ParseResult& parsed) {
  GivenSampling sampling;
  sampling.temperature = given<double>(parsed, "temperature");
  sampling.top_k = given<int64_t>(parsed, "top-k");
  sampling.top_p = given<double>(parsed, "top-p");
  sampling.min_p = given<double>(parsed, "min-p");
  sampling.repetition_penalty = given<double>(parsed, "repetition-penalty");
  sampling.presence_penalty = given<double>(parsed, "presence-penalty");
  sampling.frequency_penalty = given<double>(parsed, "frequency-penalty");
  sampling.logprobs = given<int64_t>(parsed, "logprobs");
  sampling.seed = given<uint64_t>(parsed, "seed");
  for (const SamplingProblem& problem : sampling_problems(sampling.over({}))) {
    throw UsageError(str(option_of(problem.field), " ", problem.value, ": expected ", problem.expected));
  }
  if (sampling.logprobs == -1)
    throw UsageError(str("--logprobs -1: expected a whole number from 0 to ", most_logprobs));
  return sampling;
}

void read_gists(const cxxopts::ParseResult& parsed, GenerateRequest& request) {
  request.gists = text_option(parsed, "gists");
  if (!parsed.count("context")) return;
  if (request.gists.empty()) throw UsageError("--context: expected with --gists FILE");
  request.context = whole(parsed, "context", 0, INT64_MAX);
}

void read_output(const cxxopts::ParseResult& parsed, GenerateRequest& request) {
  request.json = parsed.count("json") > 0;
  request.stream = parsed.count("stream") > 0;
  request.timings = parsed.count("timings") > 0;
  if (request.sampling.logprobs && !request.json) throw UsageError("--logprobs: expected with --json");
  if (request.stream && request.answers > 1 && !request.json)
    throw UsageError("--stream with several answers: expected with --json");
  if (request.stream && !request.ids.empty() && !request.json)
    throw UsageError("--stream with --ids: expected with --json");
}

}  // namespace

SamplingOptions GivenSampling::over(SamplingOptions defaults) const {
  const auto take = [](auto& field, const auto& value) {
    if (value) field = *value;
  };
  take(defaults.temperature, temperature);
  take(defaults.top_k, top_k);
  take(defaults.top_p, top_p);
  take(defaults.min_p, min_p);
  take(defaults.repetition_penalty, repetition_penalty);
  take(defaults.presence_penalty, presence_penalty);
  take(defaults.frequency_penalty, frequency_penalty);
  take(defaults.logprobs, logprobs);
  take(defaults.seed, seed);
  return defaults;
}

SamplingOptions sampling_for(const GenerateRequest& request, const SamplingOptions& defaults) {
  const GivenSampling& said = request.sampling;
  SamplingOptions options = said.over(defaults);
  if (!options.draws() && (said.top_k || said.top_p || said.min_p)) {
    throw UsageError(str(said.top_k   ? "--top-k"
                         : said.top_p ? "--top-p"
                                      : "--min-p",
                         ": expected with --temperature above 0, ", "since at 0 the likeliest token is taken"));
  }
  if (options.draws() && !said.seed) options.seed = std::random_device{}();
  return options;
}

void add_generate_options(cxxopts::Options& options) {
  const auto list = [] { return cxxopts::value<std::vector<std::string>>(); };
  const auto number = [] { return cxxopts::value<double>(); };
  const auto whole = [](const char* otherwise) { return cxxopts::value<int64_t>()->default_value(otherwise); };
  options.add_options()("prompt", "a text (repeatable); -: the lines of standard input", list(), "TEXT")(
      "chat", "each prompt is a user's turn, put as the folder's chat template says")(
      "ids", "token ids of a text instead, separated by commas (repeatable)", list(), "LIST")(
      "max-new-tokens", "at most so many for each answer", whole("64"), "N")(
      "min-new-tokens", "before so many nothing ends an answer", whole("0"), "N")(
      "stop", "an answer ends before this text (repeatable)", list(), "TEXT")(
      "n,answers", "so many answers to each prompt; also --n", whole("1"), "N")(
      "gists", "prompts are questions to a context of this file (braid gist compress); for --run",
      cxxopts::value<std::string>(),
      "FILE")("context", "with --gists: this context of the file, from 0", cxxopts::value<int64_t>(), "N");
  options.add_options()("temperature", "0: the likeliest token; above: drawn, from logits divided by it", number(),
                        "T")("top-k", "from the K likeliest; 0: all", cxxopts::value<int64_t>(), "K")(
      "top-p", "from the fewest likeliest whose probabilities add up to P", number(), "P")(
      "min-p", "from those at least P times as likely as the likeliest", number(), "P")(
      "repetition-penalty", "above 1: logits of the prompt's and the answer's tokens are lowered by this factor",
      number(), "X")("presence-penalty", "taken off the logits of the answer's tokens", number(), "X")(
      "frequency-penalty", "likewise, for each time they came", number(), "X")(
      "seed", "what is drawn depends on it alone (default: another one each time, told by --json)",
      cxxopts::value<uint64_t>(), "N");
  options.add_options()("json", "an object for each prompt: texts, tokens, why they ended")(
      "logprobs", "with --json: log-probabilities of each token and of the N likeliest, as the model gives them",
      cxxopts::value<int64_t>(),
      "N")("stream", "with --json: a line for each token as it comes, too; texts alone always come so");
  options.parse_positional({"model"});
  options.positional_help("MODEL");
}

GenerateRequest read_generate_request(const cxxopts::ParseResult& parsed) {
  GenerateRequest request;
  if (parsed.count("ids") + parsed.count("prompt") == 0 || (parsed.count("ids") && parsed.count("prompt"))) {
    throw UsageError("braid generate: expected --prompt TEXT or --ids LIST, one of both");
  }
  request.model = read_model_options(parsed);
  request.prompts = texts(parsed, "prompt");
  for (const std::string& text : texts(parsed, "ids")) request.ids.push_back(parse_ids(text));
  if (parsed.count("chat")) {
    if (!request.model.format.empty()) throw UsageError("--chat is --format model; expected one of both");
    request.model.format = "model";
  }
  request.max_new_tokens = whole(parsed, "max-new-tokens", 0, INT64_MAX);
  request.min_new_tokens = whole(parsed, "min-new-tokens", 0, INT64_MAX);
  request.answers = whole(parsed, "answers", 1, most_answers);
  request.stop_strings = texts(parsed, "stop");
  for (const std::string& text : request.stop_strings) {
    if (text.empty()) throw UsageError("--stop: expected a text of at least one character");
  }
  if (!request.stop_strings.empty() && !request.ids.empty())
    throw UsageError("--stop: expected with --prompt, since --ids has no text");
  read_gists(parsed, request);
  request.sampling = read_sampling(parsed);
  request.speculation = read_speculation(parsed);
  read_output(parsed, request);
  return request;
}

}  // namespace braid
