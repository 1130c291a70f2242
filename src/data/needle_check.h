// SPDX-License-Identifier: Apache-2.0
// Proofs about files of needle samples, and what their depths and lengths are.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/needle_sample.h"

namespace braid {

struct NeedleFile {
  std::string path;
  std::vector<NeedleSample> samples;
};

// Error that names the first sample for which it does not hold: ids are unique; each statement stands in the context
// once, and so does each key (vt: the value, and no variable outside the statements); answers are among the keys; the
// context has as many tokens as the sample says, each token span decodes to its statement, and depth is its place; the
// mirror FILE.h5 beside FILE.jsonl, where there is one, holds the same. Tokens are those of `tokens`, else of the
// tokenizer that the sample names; a sample of the public experiment has none.
void check_needle_file(const NeedleFile& file, const std::optional<NeedleTokens>& tokens);

// Error that names the first sample with a key of the other split. Files without splits do not take part.
void check_disjoint_keys(const std::vector<NeedleFile>& files);

// Samples, keys and their chance level, depth and length histograms as aligned text of at most 80 columns.
std::string describe(const NeedleFile& file);
// "keys of 200 test and 1000 training samples are disjoint", or that there is only one split.
std::string describe_splits(const std::vector<NeedleFile>& files);

}  // namespace braid
