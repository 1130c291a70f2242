// SPDX-License-Identifier: Apache-2.0
// An evaluation of compressed contexts from end to end, and the file it leaves.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "experiments/gist_targets.h"

namespace braid {

struct GistReport {
  std::vector<GistLine> lines;   // of the suite that was asked for
  std::vector<GistLine> global;  // of those about several statements
  std::vector<ProbeLine> probe;
  std::vector<GistTarget> targets;
  std::optional<BreakEven> even;
};

struct GistReportOptions {
  bool targets = true;  // also global context, and the six targets
  int64_t probe = 8;    // the largest batch that memory and throughput are measured at; 0: none
};

// Collective; every rank gets the lines, rank 0 alone the probe and what is judged by it.
GistReport report_gists(GistRun& run, const GistTest& test, const GistReportOptions& options, Communicator& comm);

// The lines of `gist` for every checkpoint of a run, the earliest first. Collective.
std::vector<GistLine> gists_by_checkpoint(const std::string& run, const GistTest& test, Precision precision,
                                          const at::Device& device, Communicator& comm);

// FILE (HDF5) with tables "scores", "answers", "targets" and "probe", and the same as JSON in FILE with the ending
// .json. Error.
void write_gist_file(const std::string& path, const GistReport& report, const RunAttributes& attributes);

// A line of the configuration, "lengths=1000,3000 depths=5 limit=64 keys=4 task=multikey distractors=0.03
// dataset=FILE segment=300 full=no", to a test. UsageError.
GistTest read_gist_test(const std::string& text);

}  // namespace braid
