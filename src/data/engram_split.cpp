// SPDX-License-Identifier: Apache-2.0
#include "data/engram_split.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"
#include "data/python_random.h"

namespace braid {

namespace {

std::vector<std::string> openings_of(const std::string& input, EngramVariant variant) {
  if (input.starts_with("Q:")) return {"Tell me: ", "Answer: "};
  if (input.starts_with("Fix") || input.find("->") != std::string::npos) return {};
  if (variant != EngramVariant::mlx) return {"Complete: ", "Continue: ", "Finish this: "};
  if (input.starts_with("Format")) return {};
  return {"Complete: ", "Continue: ", "Finish this: ", "What comes next: "};
}

EngramExample as_it_is(const Pattern& pattern, size_t place) {
  return {pattern.input, pattern.output, pattern.category, pattern.source_file, place};
}

void append_forms(std::vector<EngramExample>& out, const std::vector<Pattern>& patterns, size_t place,
                  EngramVariant variant) {
  for (EngramExample& form : with_openings(patterns[place], place, variant)) out.push_back(std::move(form));
}

// Places of patterns by category, categories in the order in which they are first seen.
std::vector<std::vector<size_t>> by_category(const std::vector<Pattern>& patterns) {
  std::vector<std::vector<size_t>> groups;
  for (size_t i = 0; i < patterns.size(); ++i) {
    const auto same = [&](const std::vector<size_t>& group) {
      return patterns[group[0]].category == patterns[i].category;
    };
    const auto found = std::find_if(groups.begin(), groups.end(), same);
    found == groups.end() ? groups.push_back({i}) : found->push_back(i);
  }
  return groups;
}

std::vector<EngramExample> draw_test(const std::vector<Pattern>& patterns, size_t most, PythonRandom& random) {
  std::vector<EngramExample> test;
  for (const std::vector<size_t>& group : by_category(patterns)) {
    for (const size_t i : random.sample(group.size(), std::min(most, group.size()))) {
      test.push_back(as_it_is(patterns[group[i]], group[i]));
    }
  }
  random.shuffle(test);
  return test;
}

EngramSplit published_split(const std::vector<Pattern>& patterns, EngramVariant variant, uint64_t seed) {
  EngramSplit split;
  for (size_t i = 0; i < patterns.size(); ++i) append_forms(split.train, patterns, i, variant);
  PythonRandom random(seed);
  random.shuffle(split.train);
  const auto border = split.train.begin() + static_cast<std::ptrdiff_t>(0.8 * static_cast<double>(split.train.size()));
  split.valid.assign(border, split.train.end());
  split.train.erase(border, split.train.end());
  if (variant == EngramVariant::mlx) random = PythonRandom(seed);
  split.test = draw_test(patterns, variant == EngramVariant::mlx ? 3 : 5, random);
  return split;
}

EngramSplit clean_split(const std::vector<Pattern>& patterns, uint64_t seed) {
  const size_t count = patterns.size();
  if (count < 3) throw UsageError(str("a clean split needs 3 patterns or more, found ", count));
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  PythonRandom random(seed);
  random.shuffle(order);
  const size_t test_end = std::max<size_t>(count / 5, 1), valid_end = test_end + std::max<size_t>(count / 10, 1);
  EngramSplit split;
  for (size_t i = 0; i < count; ++i) {
    if (i < test_end) {
      split.test.push_back(as_it_is(patterns[order[i]], order[i]));
    } else {
      append_forms(i < valid_end ? split.valid : split.train, patterns, order[i], EngramVariant::clean);
    }
  }
  random.shuffle(split.train);
  return split;
}

// As Python's json.dumps writes it.
std::string quoted(const std::string& text) { return nlohmann::json(text).dump(-1, ' ', true); }

struct Extras {
  bool category = false, source_file = false;
};

std::string json_line(const EngramExample& example, Extras extras) {
  std::string line = "{\"messages\": [{\"role\": \"user\", \"content\": " + quoted(example.prompt) +
                     "}, {\"role\": \"assistant\", \"content\": " + quoted(example.answer) + "}]";
  if (extras.category) line += ", \"category\": " + quoted(example.category);
  if (extras.source_file) line += ", \"source_file\": " + quoted(example.source_file);
  return line + "}\n";
}

void write_lines(const std::filesystem::path& path, const std::vector<EngramExample>& examples, Extras extras) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  for (const EngramExample& example : examples) file << json_line(example, extras);
  file.close();
  if (!file) throw Error(str(path.string(), ": cannot be written"));
}

}  // namespace

EngramVariant engram_variant(const std::string& name) {
  if (name == "cuda") return EngramVariant::cuda;
  if (name == "mlx") return EngramVariant::mlx;
  if (name == "clean") return EngramVariant::clean;
  throw UsageError(str("--variant ", name, ": expected cuda, mlx or clean"));
}

std::vector<EngramExample> with_openings(const Pattern& pattern, size_t place, EngramVariant variant) {
  std::vector<EngramExample> forms = {as_it_is(pattern, place)};
  for (const std::string& opening : openings_of(pattern.input, variant)) {
    forms.push_back(forms[0]);
    forms.back().prompt = opening + pattern.input;
  }
  return forms;
}

std::string without_opening(const std::string& prompt) {
  for (const std::string opening :
       {"Tell me: ", "Answer: ", "Complete: ", "Continue: ", "Finish this: ", "What comes next: "}) {
    if (prompt.starts_with(opening)) return prompt.substr(opening.size());
  }
  return prompt;
}

EngramSplit split_engram(const std::vector<Pattern>& patterns, EngramVariant variant, uint64_t seed) {
  return variant == EngramVariant::clean ? clean_split(patterns, seed) : published_split(patterns, variant, seed);
}

void write_engram_split(const EngramSplit& split, EngramVariant variant, const std::string& folder) {
  std::error_code problem;
  std::filesystem::create_directories(folder, problem);
  if (problem) throw UsageError(str(folder, ": cannot be created: ", problem.message()));
  const bool clean = variant == EngramVariant::clean;
  const std::filesystem::path out(folder);
  write_lines(out / "train.jsonl", split.train, {clean, clean});
  write_lines(out / "valid.jsonl", split.valid, {clean, clean});
  write_lines(out / "test.jsonl", split.test, {true, variant != EngramVariant::cuda});
}

}  // namespace braid
