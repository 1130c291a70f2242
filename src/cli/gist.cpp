// SPDX-License-Identifier: Apache-2.0
// braid gist: contexts compressed once into a file, and questions that are answered from it.
#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>

#include "base/clock.h"
#include "base/error.h"
#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "data/needle_files.h"
#include "data/passkey_task.h"
#include "experiments/gist_asking.h"
#include "experiments/gist_cache.h"
#include "experiments/run.h"
#include "train/memory.h"

namespace braid {

namespace {

constexpr const char* gist_examples = R"(
Examples:
  braid gist compress runs/passkey --held-out 8 --length 3000 --output runs/passkey-cache.h5
  braid gist ask runs/passkey --cache runs/passkey-cache.h5 --ids 12
  braid gist compress runs/passkey --input contexts.txt --store bf16 --output runs/cache.h5
  braid gist compress runs/text --dataset runs/needles/global-test.jsonl --output runs/cache.h5
  braid gist ask runs/text --cache runs/cache.h5 --question 'What is the secret passkey?'

compress: contexts to the keys and values of their gists, in an HDF5 file (docs/reading-results.md).
--input has a line of token ids like 1,4093,253 for each context; where the run has a tokenizer it
is a text, one context. ask: one line of answer for each question and context, as text where the
run has a tokenizer. Only the weights that compressed a cache are asked with it.
Exit codes: 0 done; 1 failed; 2 wrong use, or files that cannot be taken.
)";

struct GistCommand {
  std::string run, input, dataset, output, cache, store;
  int64_t held_out = 0, length = 0, segment = 0, context = -1, most = 0, seed = -1;
  std::vector<std::string> ids, questions;
  WorldOptions world;
};

// A run's model with its gists, and how it is asked.
struct Opened {
  AdaptedModel loaded;
  GistAsking asking;
};

Opened open_run(const std::string& run, const World& world) {
  ModelSource source;
  source.run = run;
  Opened opened{load_adapted_model(source, Precision::fp32, device_of(world)), {}};
  opened.asking = gist_asking_of(opened.loaded);
  return opened;
}

std::vector<int64_t> ids_of(const std::string& line, const std::string& where) {
  std::vector<int64_t> ids;
  const char* next = line.data();
  const char* end = next + line.size();
  while (true) {
    const auto [after, problem] = std::from_chars(next, end, ids.emplace_back());
    if (problem != std::errc{} || (after != end && *after != ',')) {
      throw UsageError(str(where, ": expected token ids like 1,4093,253"));
    }
    if (after == end) return ids;
    next = after + 1;
  }
}

std::vector<std::vector<int64_t>> contexts_of_file(const std::string& path, const Opened& opened) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw UsageError(str(path, ": no such file, or it cannot be read"));
  if (opened.asking.text) return {encoded(opened.asking.text->tokens, {std::istreambuf_iterator<char>(in), {}})};
  std::vector<std::vector<int64_t>> contexts;
  int64_t number = 0;
  for (std::string line; std::getline(in, line);) contexts.push_back(ids_of(line, str(path, ":", ++number)));
  return contexts;
}

std::vector<std::vector<int64_t>> contexts_of_dataset(const std::string& path, const Opened& opened) {
  if (!opened.asking.text) throw UsageError("--dataset: needs a run whose model has a tokenizer");
  std::vector<std::vector<int64_t>> contexts;
  for (const NeedleSample& sample : read_needles(path)) contexts.push_back(encoded(opened.asking.text->tokens, sample.context));
  return contexts;
}

// The contexts that braid eval asks first.
std::vector<std::vector<int64_t>> held_out_contexts(const GistCommand& command, const Opened& opened) {
  const int64_t length = command.length > 0 ? command.length : opened.asking.config.gist.eval_length;
  const int64_t seed = command.seed >= 0 ? command.seed : opened.asking.config.train.seed;
  const PasskeyTask data({length, static_cast<uint64_t>(seed), Split::held_out, 0, {}});
  std::vector<std::vector<int64_t>> contexts;
  for (int64_t i = 0; i < command.held_out; ++i) {
    std::vector<int64_t> tokens(static_cast<size_t>(data.length())), targets(tokens.size());
    data.sample(i, tokens, targets);
    tokens.resize(static_cast<size_t>(length));
    contexts.push_back(std::move(tokens));
  }
  return contexts;
}

h5::Element element_of(const std::string& store) {
  if (store == "bf16") return h5::Element::bfloat16;
  return store == "fp16" ? h5::Element::float16 : h5::Element::float32;
}

int compress(World& world, const GistCommand& command) {
  choose_threads(world);
  Opened opened = open_run(command.run, world);
  GistConfig gist = opened.asking.config.gist;
  if (command.segment > 0) gist.segment = command.segment;
  const auto contexts = !command.input.empty()     ? contexts_of_file(command.input, opened)
                        : !command.dataset.empty() ? contexts_of_dataset(command.dataset, opened)
                                                   : held_out_contexts(command, opened);
  const Stopwatch watch;
  const GistCache cache = compress_contexts(opened.loaded, gist, contexts);
  const double seconds = watch.seconds();
  write_gist_cache(command.output, cache, element_of(command.store));
  int64_t tokens = 0;
  for (const int64_t one : cache.context_tokens) tokens += one;
  const int64_t gists = cache.positions.ge(0).sum().item<int64_t>();
  const int64_t bytes = gists * cache.kept[0].numel() / cache.kept.size(4) *
                        static_cast<int64_t>(h5::element_bytes(element_of(command.store)));
  std::cout << cache.size() << " contexts, " << tokens << " tokens to " << gists << " gists, " << human_bytes(bytes)
            << ", " << seconds << " s: " << command.output << "\n";
  return exit_done;
}

// Ids, or text.
std::vector<std::vector<int64_t>> questions_of(const GistCommand& command, const Opened& opened) {
  std::vector<std::vector<int64_t>> questions;
  for (const std::string& ids : command.ids) questions.push_back(ids_of(ids, "--ids " + ids));
  if (!command.questions.empty() && !opened.asking.text) {
    throw UsageError("--question: the run has no tokenizer; expected --ids");
  }
  for (const std::string& text : command.questions) questions.push_back(opened.asking.question(text));
  for (const auto& question : questions) {
    if (question.empty()) throw UsageError("--question: expected a text");
    for (const int64_t id : question) {
      if (id < 0 || id >= opened.asking.config.model.vocabulary) throw UsageError(str("--ids: the model does not know ", id));
    }
  }
  return questions;
}

std::string answer_line(const std::vector<int64_t>& answer, const Opened& opened, const std::vector<int64_t>& stop) {
  if (!opened.asking.text) {
    std::string line;
    for (const int64_t id : answer) line += str(line.empty() ? "" : ",", id);
    return line;
  }
  std::vector<TokenId> ids;
  for (const int64_t id : answer) {
    if (std::find(stop.begin(), stop.end(), id) == stop.end()) ids.push_back(static_cast<TokenId>(id));
  }
  return on_one_line(opened.asking.text->tokens.decode(ids));
}

int ask(World& world, const GistCommand& command) {
  choose_threads(world);
  const GistCache cache = read_gist_cache(command.cache);
  Opened opened = open_run(command.run, world);
  require_same_weights(cache, opened.loaded, command.cache);
  if (command.context >= 0) require_context(cache, command.context, "--context: " + command.cache);
  const std::vector<int64_t>& stop = opened.asking.stop_ids;
  const int64_t first = std::max<int64_t>(command.context, 0), end = command.context < 0 ? cache.size() : first + 1;
  for (const auto& question : questions_of(command, opened)) {
    for (int64_t i = first; i < end; ++i) {
      const AnswerPast past = past_of_cached(cache, i, *opened.loaded.gists);
      std::cout << answer_line(answer_from(*opened.loaded.gists, past, question, command.most, stop), opened, stop)
                << "\n";
    }
  }
  std::cout << std::flush;
  return exit_done;
}

void require_one(const std::vector<std::pair<const char*, bool>>& given) {
  int64_t count = 0;
  std::string names;
  for (const auto& [name, there] : given) {
    count += there;
    names += str(names.empty() ? "" : ", ", name);
  }
  if (count != 1) throw UsageError(str("braid gist: expected one of ", names));
}

void check_compress(const GistCommand& c) {
  require_one({{"--input", !c.input.empty()}, {"--dataset", !c.dataset.empty()}, {"--held-out", c.held_out > 0}});
  if (c.output.empty()) throw UsageError("braid gist compress: expected --output FILE");
  const std::filesystem::path folder = std::filesystem::absolute(c.output).parent_path();
  if (!std::filesystem::is_directory(folder)) throw UsageError(str("--output: ", folder.string(), ": no such folder"));
}

void check_ask(const GistCommand& c) {
  if (c.cache.empty()) throw UsageError("braid gist ask: expected --cache FILE");
  if (c.ids.empty() && c.questions.empty()) throw UsageError("braid gist ask: expected --question TEXT or --ids LIST");
  if (c.most < 1) throw UsageError("--max-new-tokens: expected 1 or more");
}

GistCommand read_command(const std::string& action, const cxxopts::ParseResult& parsed) {
  const auto text = [&](const char* name) { return text_option(parsed, name); };
  GistCommand c;
  c.run = text("run");
  c.input = text("input");
  c.dataset = text("dataset");
  c.output = text("output");
  c.cache = text("cache");
  if (c.run.empty()) throw UsageError(str("braid gist ", action, ": expected a run's folder"));
  c.store = one_of("store", parsed["store"].as<std::string>(), {"fp32", "bf16", "fp16"});
  c.held_out = parsed["held-out"].as<int64_t>();
  c.length = parsed["length"].as<int64_t>();
  c.segment = parsed["segment"].as<int64_t>();
  c.context = parsed["context"].as<int64_t>();
  c.seed = parsed["seed"].as<int64_t>();
  c.most = parsed["max-new-tokens"].as<int64_t>();
  if (parsed.count("ids")) c.ids = parsed["ids"].as<std::vector<std::string>>();
  if (parsed.count("question")) c.questions = parsed["question"].as<std::vector<std::string>>();
  c.world.device = one_of("device", parsed["device"].as<std::string>(), {"auto", "cpu", "cuda"});
  action == "compress" ? check_compress(c) : check_ask(c);
  if (c.segment < 0 || c.length < 0) throw UsageError("--segment, --length: expected a number of tokens");
  return c;
}

void add_options(cxxopts::Options& options) {
  const auto text = [] { return cxxopts::value<std::string>(); };
  const auto list = [] { return cxxopts::value<std::vector<std::string>>(); };
  const auto number = [](const char* value) { return cxxopts::value<int64_t>()->default_value(value); };
  options.add_options()("run", "the run's folder, or one of its checkpoints", text(), "OUT")(
      "input", "compress: a file of contexts", text(), "FILE")(
      "dataset", "compress: the contexts of needle samples (braid data needles)", text(), "FILE")(
      "held-out", "compress: so many held-out contexts of the passkey task", number("0"), "N")(
      "length", "--held-out: of each, in tokens; default: gist.eval_length", number("0"), "N")(
      "seed", "--held-out: of the samples; default: the run's", number("-1"), "N")(
      "segment", "compress: tokens that are compressed together; default: gist.segment", number("0"), "N")(
      "store", "compress: fp32, bf16 or fp16", text()->default_value("fp32"), "TYPE")(
      "output", "compress: the cache to write", text(), "FILE")("cache", "ask: the cache to read", text(), "FILE")(
      "question", "ask: a text (repeatable)", list(), "TEXT")(
      "ids", "ask: token ids of a question instead, separated by commas (repeatable)", list(), "LIST")(
      "context", "ask: this context of the cache, from 0; default: all", number("-1"), "N")(
      "max-new-tokens", "ask: at most so many for each answer", number("16"), "N")(
      "device", "auto, cpu or cuda", text()->default_value("auto"), "NAME")("h,help", "this text");
  options.parse_positional({"run"});
  options.positional_help("OUT");
}

}  // namespace

int command_gist(const Arguments& arguments) {
  const std::string action = arguments.empty() || arguments.front().starts_with("-") ? "" : arguments.front();
  if (!action.empty() && action != "compress" && action != "ask") {
    throw UsageError(str("braid gist: unknown action '", action, "'; there are: compress, ask"));
  }
  cxxopts::Options options("braid gist compress|ask",
                           "Contexts compressed to gists, once, and questions answered from these.");
  add_options(options);
  GistCommand command;
  const auto use = [&](const cxxopts::ParseResult& parsed) {
    if (action.empty()) throw UsageError("braid gist: say what to do: compress or ask");
    command = read_command(action, parsed);
  };
  const Arguments rest(arguments.begin() + (action.empty() ? 0 : 1), arguments.end());
  if (!parse_arguments(options, rest, use, gist_examples)) return exit_done;
  return with_world(command.world, [&](World& world, Logger&) {
    if (world.size() > 1) throw UsageError("braid gist: runs on one rank");
    return action == "compress" ? compress(world, command) : ask(world, command);
  });
}

}  // namespace braid
