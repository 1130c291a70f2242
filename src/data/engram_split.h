// SPDX-License-Identifier: Apache-2.0
// From patterns to the examples of the Engram experiment. Variants `cuda` and `mlx` give, for the patterns of
// softwarewrighter/engram-poc and seed 42, the bytes that its programs for CUDA and MLX wrote. There test prompts are
// also among those trained on: what is measured is recall. Variant `clean` cuts by pattern: no form of a pattern that
// is tested was trained on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/pattern_files.h"

namespace braid {

enum class EngramVariant { cuda, mlx, clean };
EngramVariant engram_variant(const std::string& name);  // UsageError for another name

struct EngramExample {
  std::string prompt, answer, category, source_file;
  size_t pattern = 0;  // place among the patterns
};

struct EngramSplit {
  std::vector<EngramExample> train, valid, test;
};

// A pattern as it is, then with what can stand before it: questions (Q: …) with two openings, code with three (mlx:
// four), fixes and formats (Fix …, … -> …) with none.
std::vector<EngramExample> with_openings(const Pattern& pattern, size_t place, EngramVariant variant);

// The prompt without the opening of any variant before it, if there is one.
std::string without_opening(const std::string& prompt);

// cuda: all forms shuffled, int(0.8 n) train, the rest valid; test: up to 5 patterns of each category as they are.
// mlx: the same with up to 3, drawn by a generator seeded anew. clean: patterns shuffled, a fifth test (as they are), a
// tenth valid, the rest train, at least one each; UsageError for fewer than 3 patterns.
EngramSplit split_engram(const std::vector<Pattern>& patterns, EngramVariant variant, uint64_t seed);

// Writes train.jsonl, valid.jsonl and test.jsonl: {"messages": [user, assistant]}, with the category in test.jsonl (mlx
// also with the file), in clean with both everywhere. Error when a file cannot be written.
void write_engram_split(const EngramSplit& split, EngramVariant variant, const std::string& folder);

}  // namespace braid
