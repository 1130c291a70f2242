// SPDX-License-Identifier: Apache-2.0
// How much memory and time it takes to answer some questions at once, for the gists and the raw context alike.
#pragma once

#include "experiments/gist_evaluate.h"

namespace braid {

struct ProbeLine {
  std::string system;
  int64_t batch = 0, context_tokens = 0;
  double compress_seconds = 0, answer_seconds = 0;  // of the whole batch
  int64_t resident_bytes = 0, peak_bytes = 0;       // held before; and at most, while compressing and answering

  double answers_per_second() const { return double(batch) / (compress_seconds + answer_seconds); }
};

// gist and full, one after the other in the same process: at batch 1, and at the largest batch, doubled from 1 up to
// `limit`, that fits into free memory for both. The same question fills a batch: what it holds does not matter.
// On rank 0 alone. Empty for a limit of 0.
std::vector<ProbeLine> probe_batches(GistRun& run, const GistTest& test, int64_t limit);

}  // namespace braid
