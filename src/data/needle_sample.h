// SPDX-License-Identifier: Apache-2.0
// Needle-in-a-haystack samples: filler sentences with short statements of keys among them, and a question about these.
// Tasks are those of RULER (Hsieh et al., 2024, arXiv 2404.06654) in wordings of our own.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/needle_keys.h"
#include "data/needle_texts.h"
#include "data/needle_tokens.h"

namespace braid {

inline constexpr int64_t needle_generator_version = 1;

// single: one key. multikey: a key for each of several labels, one label asked. multivalue: several keys of one label,
// all asked. multiquery: a key for each of several labels, all asked. vt: variables that take each other's value in a
// chain; all that have the value are asked.
enum class NeedleTask { single, multikey, multivalue, multiquery, vt };
const char* name_of(NeedleTask task);
NeedleTask needle_task(const std::string& name);  // UsageError
const char* name_of(NeedleSplit split);
NeedleSplit needle_split(const std::string& name);  // UsageError

struct NeedleSpec {
  std::string name = "needles";  // begins the ids of samples
  NeedleTask task = NeedleTask::single;
  uint64_t seed = 0;
  int64_t least_tokens = 2000, most_tokens = 8000;  // of a context, drawn between them
  double least_depth = 0, most_depth = 1;           // 0: before the first sentence, 1: behind the last
  int64_t keys = 4;                                 // of the tasks with several; vt: hops, so one variable more
  double distractor_rate = 0;                       // share of filler sentences that name a false key or a number
  KeyForm form = key_form("alnum", 6);              // vt has its own: names of 5 letters, values of 5 digits
};

struct Needle {
  std::string key, value;                // what is named (a label, a variable) and what it has
  int64_t char_start = 0, char_end = 0;  // of the statement in the context, in code points
  int64_t tok_start = 0, tok_end = 0;    // the same in tokens
  double depth = 0;                      // tok_start as a share of the places it could have
};

struct NeedleSample {
  std::string id, split, language, task;
  uint64_t seed = 0;
  int64_t context_tokens = 0;
  std::string context;
  std::vector<Needle> needles;  // in the order in which they were made: of labels, of the chain
  std::string instruction, question;
  std::vector<std::string> answers;
  std::string filler_id;
  double distractor_rate = 0;
  std::string tokenizer;  // NeedleTokens::name(); "" in files of the public experiment, which know no tokens
  int64_t line = 0;       // in the file it was read from, from 1
};

// A sample and its tokens. `texts` and `tokens` may serve any number of threads.
struct TokenisedNeedles {
  NeedleSample sample;
  std::vector<TokenId> tokens;  // of the context
};

// Sample `index` of a split: a pure function of its arguments. No key of a training sample, false ones included, is a
// key of a test sample of any seed. Each statement and each key of it (vt: the value) stands in the context once. The
// context has at most the drawn number of tokens and is short of it by less than a sentence; nothing is cut. UsageError
// for a specification that cannot be met.
TokenisedNeedles make_needle_sample(const NeedleSpec& spec, const NeedleTexts& texts, const NeedleTokens& tokens,
                                    NeedleSplit split, int64_t index);

// The statement of a needle, as it stands in the context.
std::string_view statement_of(const NeedleSample& sample, const Needle& needle);

// How often `part` stands in `text`, overlaps included.
int64_t occurrences(std::string_view text, std::string_view part);

}  // namespace braid
