// SPDX-License-Identifier: Apache-2.0
// The wordings and fillers that needle samples are made of: a YAML file per language (data/needles/ has ours).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/needle_grammar.h"

namespace braid {

// Which of the wordings and filler frames are drawn from: a model can be trained on the first three quarters of each
// list and tested on the rest, which it has never seen.
enum class WordingPart { all, first, rest };

struct NeedleTexts {
  std::string name, language;
  uint32_t digest = 0;  // CRC-32C of the file
  WordingPart part = WordingPart::all;

  // Slots: {value} the key, {label} what it belongs to, {labels} several, {name} and {other} variables.
  std::vector<std::string> instructions;
  std::vector<std::string> needles, questions;                          // one key
  std::vector<std::string> keyed_needles, keyed_questions;              // a key for each label; one is asked
  std::vector<std::string> many_needles, many_questions;                // several keys of one label, all asked
  std::vector<std::string> several_questions;                           // several labels asked
  std::vector<std::string> chain_starts, chain_links, chain_questions;  // variables and their values
  std::vector<std::string> key_distractors, number_distractors;
  std::vector<std::string> labels, fillers;
  WordLists words;
  std::string between, before_last;  // how labels are listed: ", " and " and "
};

// One of the two that come with Braid: "en" or "ko". UsageError for another language.
const NeedleTexts& own_needle_texts(const std::string& language);
// A file of the same form. UsageError with file and line: a missing, unknown or wrongly typed field, a slot without a
// list.
NeedleTexts read_needle_texts(const std::string& path);

// The part of a list that may be drawn from; a list of one is all of it for every part.
std::vector<std::string> part_of(const std::vector<std::string>& list, WordingPart part);
NeedleTexts part_of(NeedleTexts texts, WordingPart part);

// "english 1a2b3c4d", with the part where it is not all: which texts, to the byte.
std::string id_of(const NeedleTexts& texts);

}  // namespace braid
