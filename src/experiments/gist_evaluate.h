// SPDX-License-Identifier: Apache-2.0
// What a compressing model answers to held-out questions, beside systems that it has to be told from: nothing is called
// compression here that a look at the raw text, or at another text, would explain.
//   gist       the gists of the context, and nothing else of it
//   shuffled   the gists of another context: near 0, or something leaks
//   none       no context at all
//   truncated  as many raw tokens as there are gists, the context's last ones
//   oracle     the gists of the segments that hold what is asked for, alone
//   search     a search in the raw context: 100 %, or the data is wrong
//   full       the whole context raw, to the same model
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "experiments/gist_examine.h"

namespace braid {

// A suite of questions: of the passkey task, or of a file.
struct GistTest {
  std::vector<int64_t> lengths;  // of the task's contexts [tokens]
  std::vector<double> depths;    // of the map, 0 to 1; empty: none
  int64_t segment = 0, limit = 64;  // segment 0: the run's; questions of each line and cell
  double distractors = 0;
  bool full = true;  // also the raw context, whose time grows with the square of its length
  int64_t keys = 1;
  PasskeyKind kind = PasskeyKind::multikey;
  std::string dataset;               // of needle samples; then the task's settings do not count
  bool generated = false;            // with `dataset`: not its own, but fresh ones of `kind`, as long and in its language
  std::vector<std::string> systems;  // empty: all
  int64_t seed = -1;                 // of the task; -1: the run's
};

// All answers of one system to one suite.
struct GistLine {
  std::string suite;             // "passkey", "multikey-4", the file's name
  int64_t step = -1;             // of the checkpoint, -1: unknown
  int64_t length = 0;            // of contexts [tokens], at most; of a file the mean
  std::optional<double> depth;   // empty: anywhere
  SystemResult result;

  double ratio() const;  // raw tokens for each position that is read, 0 for none
};

// The run's model and compression, as load_adapted_model has them, with the keys of [gist] it was trained by.
struct GistRun {
  AdaptedModel loaded;
  RunConfig config;
  int64_t step = -1;
};
// UsageError: no such run, or one whose model does not compress.
GistRun load_gist_run(const std::string& path, Precision precision, const at::Device& device);

// Answers are split over the ranks; every rank gets all of them, which do not depend on the ranks' number. Collective.
// UsageError: a file that the run's tokenizer cannot be used on, an unknown system.
std::vector<GistLine> evaluate_gists(GistRun& run, const GistTest& test, Communicator& comm);

// The questions of a test at one length and depth, and the settings its systems get.
QuestionSet questions_of(const GistRun& run, const GistTest& test, int64_t length, std::optional<double> depth);
int64_t segment_of(const GistRun& run, const GistTest& test);

}  // namespace braid
