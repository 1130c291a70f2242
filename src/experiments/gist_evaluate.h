// SPDX-License-Identifier: Apache-2.0
// What a compressing model answers to held-out passkey questions, beside systems that it has to be told from: nothing
// is called compression here that a look at the raw text, or at another text, would explain.
//   gist       the gists of the context, and nothing else of it
//   shuffled   the gists of another sample: near 0, or something leaks
//   none       no context at all
//   truncated  as many raw tokens as there are gists, the context's last ones
//   full       the whole context raw, to the same model
//   oracle     the gists of the one segment that holds the needle
//   search     a search for the needle's marks in the raw tokens: 100 %, or the data is wrong
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/statistics.h"
#include "experiments/adapted_model.h"

namespace braid {

struct GistTest {
  std::vector<int64_t> lengths;     // of contexts [tokens]
  std::vector<double> depths;       // of the map, 0 to 1; empty: none
  int64_t segment = 0, limit = 64;  // samples of each line and cell
  double distractors = 0;
  bool full = true;  // also the raw context, whose time grows with the square of its length
};

// All answers of one system at one length; `depth` empty: anywhere.
struct GistLine {
  std::string system;
  int64_t length = 0;
  std::optional<double> depth;
  int64_t first_sample = 0;  // of the held-out stream
  std::vector<std::vector<int64_t>> answers, expected;  // five digits and what follows them, of each sample
  int64_t read_tokens = 0;  // positions whose keys and values the answer sees before the question
  int64_t read_bytes = 0;   // of these
  double seconds = 0;       // rank 0's share, from raw tokens to the answers

  int64_t right() const;  // strict: all six tokens
  double digits() const;  // share of right ones among the five
  Interval interval() const { return wilson_interval(right(), static_cast<int64_t>(answers.size())); }
};

// The run's model and compression, loaded by load_adapted_model. Samples are split over the ranks; every rank gets all
// answers, which do not depend on their number. Collective. UsageError: a model without gists.
std::vector<GistLine> evaluate_gists(AdaptedModel& loaded, const GistConfig& gist, const GistTest& test, uint64_t seed,
                                     Communicator& comm);

// FILE (HDF5) with tables "scores" and "answers", and the same as JSON in FILE with the ending .json.
void write_gist_file(const std::string& path, const std::vector<GistLine>& lines, const RunAttributes& attributes);

}  // namespace braid
