// SPDX-License-Identifier: Apache-2.0
#include <charconv>
#include <filesystem>
#include <iostream>

#include "base/error.h"
#include "cli/data_actions.h"
#include "cli/options.h"
#include "data/needle_files.h"
#include "data/needle_mirror.h"
#include "store/posix_file.h"

namespace braid {

namespace {

constexpr const char* needle_examples = R"(
Examples:
  braid data needles --preset global --seed 7 --out runs/needles        # global-test.jsonl and .h5
  braid data needles --preset korean --tokenizer models/smol/tokenizer.json --out runs/needles
  braid data needles --task multikey --keys 4 --tokens 3000 --depth 0..50 --out runs/needles
  braid data needles --preset global --split train --samples 1000 --wording first --out runs/needles
  braid data check runs/needles/global-test.jsonl runs/needles/global-train.jsonl

Presets: 200 samples of one key of six capitals or digits, in 2000 to 8000 tokens, at any depth;
global is English. Every option changes them. Tokens are bytes of UTF-8 unless --tokenizer is given.
Keys of the two splits are disjoint for all seeds. With --wording first the first three quarters of
all wordings and filler sentences are drawn from, with rest the others.
Exit codes: 0 done; 1 a file cannot be written; 2 wrong use or input.
)";

// "A..B" or "A" for both.
template <class Number>
std::pair<Number, Number> range_option(const std::string& option, const std::string& text) {
  const size_t dots = text.find("..");
  const std::string low = text.substr(0, dots), high = dots == std::string::npos ? low : text.substr(dots + 2);
  const auto number = [&](const std::string& part) {
    Number value{};
    const auto [end, problem] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (problem != std::errc() || end != part.data() + part.size())
      throw UsageError(str("--", option, " ", text, ": expected A..B or a number"));
    return value;
  };
  return {number(low), number(high)};
}

struct NeedleJob {
  NeedleSpec spec;
  NeedleSplit split = NeedleSplit::test;
  int64_t samples = 200, first = 0;
  std::string out;
};

NeedleTexts texts_of(const cxxopts::ParseResult& parsed) {
  const std::string preset =
      parsed.count("preset") ? one_of("preset", parsed["preset"].as<std::string>(), {"global", "korean"}) : "";
  std::string language = preset == "korean" ? "ko" : "en";
  if (parsed.count("language")) language = parsed["language"].as<std::string>();
  const std::string part = one_of("wording", parsed["wording"].as<std::string>(), {"all", "first", "rest"});
  const NeedleTexts texts =
      parsed.count("templates") ? read_needle_texts(parsed["templates"].as<std::string>()) : own_needle_texts(language);
  return part_of(texts, part == "all" ? WordingPart::all : part == "first" ? WordingPart::first : WordingPart::rest);
}

NeedleSpec spec_of(const cxxopts::ParseResult& parsed, const NeedleTexts& texts) {
  NeedleSpec spec;
  spec.task = needle_task(parsed["task"].as<std::string>());
  spec.seed = parsed["seed"].as<uint64_t>();
  if (spec.seed > INT64_MAX) throw UsageError(str("--seed ", spec.seed, ": expected less than 2^63"));
  std::tie(spec.least_tokens, spec.most_tokens) = range_option<int64_t>("tokens", parsed["tokens"].as<std::string>());
  const auto depth = range_option<double>("depth", parsed["depth"].as<std::string>());
  spec.least_depth = depth.first / 100;
  spec.most_depth = depth.second / 100;
  spec.keys = parsed["keys"].as<int64_t>();
  spec.distractor_rate = parsed["distractors"].as<double>();
  spec.form = key_form(parsed["key-characters"].as<std::string>(), parsed["key-length"].as<int64_t>());
  const bool preset = parsed.count("preset") && spec.task == NeedleTask::single;
  spec.name = parsed.count("name") ? parsed["name"].as<std::string>()
              : preset             ? parsed["preset"].as<std::string>()
                                   : str(texts.name, "-", name_of(spec.task));
  if (spec.name.empty() || spec.name.find('/') != std::string::npos)
    throw UsageError(str("--name '", spec.name, "': expected the beginning of a file name"));
  return spec;
}

NeedleJob job_of(const cxxopts::ParseResult& parsed, const NeedleTexts& texts) {
  if (!parsed.count("out")) throw UsageError("braid data needles: expected --out DIR");
  NeedleJob job;
  job.spec = spec_of(parsed, texts);
  job.split = needle_split(parsed["split"].as<std::string>());
  job.samples = parsed["samples"].as<int64_t>();
  job.first = parsed["first"].as<int64_t>();
  if (job.samples < 1 || job.first < 0 || job.samples > UINT32_MAX - job.first)
    throw UsageError(
        str("--samples ", job.samples, ", --first ", job.first, ": expected 1 or more, from 0 on, below 2^32"));
  job.out = parsed["out"].as<std::string>();
  return job;
}

void create_folder(const std::string& folder) {
  std::error_code problem;
  std::filesystem::create_directories(folder, problem);
  if (problem) throw UsageError(str(folder, ": cannot be created: ", problem.message()));
}

void write_needles(const NeedleJob& job, const NeedleTexts& texts, const NeedleTokens& tokens) {
  std::string lines;
  NeedleMirror mirror;
  int64_t total = 0;
  for (int64_t i = job.first; i < job.first + job.samples; ++i) {
    const TokenisedNeedles made = make_needle_sample(job.spec, texts, tokens, job.split, i);
    lines += json_line(made.sample) + "\n";
    mirror.add(made.sample, made.tokens, tokens);
    total += made.sample.context_tokens;
  }
  create_folder(job.out);
  const std::string base = (std::filesystem::path(job.out) / str(job.spec.name, "-", name_of(job.split))).string();
  mirror.write(base + ".h5", texts);
  replace_text_file(base + ".jsonl", lines);  // last: lines that are there have their mirror
  std::cout << "wrote " << base << ".{jsonl,h5}: " << job.samples << " samples, " << total / job.samples
            << " tokens each on average (" << tokens.name() << ")\n";
}

void add_text_options(cxxopts::OptionAdder add) {
  using cxxopts::value;
  add("preset", "global or korean: the named sets", value<std::string>(), "NAME");
  add("language", "en or ko", value<std::string>(), "NAME");
  add("templates", "wordings and filler of your own, a file like data/needles/english.yaml", value<std::string>(),
      "FILE");
  add("wording", "all, first or rest", value<std::string>()->default_value("all"), "PART");
  add("task", "single, multikey, multivalue, multiquery or vt (variable tracking)",
      value<std::string>()->default_value("single"), "NAME");
  add("keys", "keys, values or hops of the tasks with several", value<int64_t>()->default_value("4"), "N");
  add("key-length", "characters of a key", value<int64_t>()->default_value("6"), "N");
  add("key-characters", "alnum, letters or digits", value<std::string>()->default_value("alnum"), "NAME");
  add("distractors", "share of filler sentences that name a false key or a number", value<double>()->default_value("0"),
      "RATE");
}

void add_set_options(cxxopts::OptionAdder add) {
  using cxxopts::value;
  add("split", "train or test", value<std::string>()->default_value("test"), "NAME");
  add("seed", "of all draws", value<uint64_t>()->default_value("0"), "N");
  add("samples", "how many", value<int64_t>()->default_value("200"), "N");
  add("first", "index of the first one", value<int64_t>()->default_value("0"), "N");
  add("tokens", "length of contexts", value<std::string>()->default_value("2000..8000"), "A..B");
  add("depth", "where needles stand, in percent", value<std::string>()->default_value("0..100"), "A..B");
  add("tokenizer", "a tokenizer.json; without it each byte is a token", value<std::string>(), "FILE");
  add("name", "begins file names and ids (default: the preset, or templates and task)", value<std::string>(), "NAME");
  add("out", "folder for NAME-SPLIT.jsonl and NAME-SPLIT.h5", value<std::string>(), "DIR");
  add("h,help", "this text");
}

}  // namespace

int data_needles(const Arguments& arguments) {
  cxxopts::Options options("braid data needles",
                           "Needle-in-a-haystack samples as lines of JSON, and their tokens in HDF5.");
  add_text_options(options.add_options());
  add_set_options(options.add_options());
  parse_arguments(
      options, arguments,
      [](const cxxopts::ParseResult& parsed) {
        const NeedleTexts texts = texts_of(parsed);
        const NeedleJob job = job_of(parsed, texts);
        write_needles(job, texts,
                      parsed.count("tokenizer") ? NeedleTokens::from_file(parsed["tokenizer"].as<std::string>())
                                                : NeedleTokens());
      },
      needle_examples);
  return exit_done;
}

}  // namespace braid
