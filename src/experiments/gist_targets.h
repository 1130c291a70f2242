// SPDX-License-Identifier: Apache-2.0
// The six targets of the public gist experiment (kimimgo/dnsity-poc, EXPERIMENT_REPORT.md and README.md), judged by
// what was measured here: accuracy over 90 %, 100-400x, half the memory, throughput kept, low hallucination, global
// context.
#pragma once

#include <optional>

#include "experiments/gist_evaluate.h"
#include "experiments/gist_probe.h"

namespace braid {

enum class TargetVerdict { pass, fail, not_reachable, not_measured };
const char* name_of(TargetVerdict verdict);  // "PASS", "FAIL", "NOT REACHABLE", "NOT MEASURED"

struct GistTarget {
  std::string name, goal, measured;
  TargetVerdict verdict = TargetVerdict::not_measured;
};

// How often a context has to be asked until compressing it pays.
struct BreakEven {
  double formula = 0;   // gist.md 6.7: 2 P tokens each, (G (S + k)) / (n - G k)
  double measured = 0;  // compress / (answer full - answer gist); infinite where a full context answers faster
};
std::optional<BreakEven> break_even(const std::vector<GistLine>& lines, int64_t compressed_tokens);

// In that order. `lines` of the suite that is judged: gist anywhere, full where it was asked. `global`: gist's lines of
// questions about several statements.
std::vector<GistTarget> judge_targets(const std::vector<GistLine>& lines, const std::vector<GistLine>& global,
                                      const std::vector<ProbeLine>& probe);

// gist's lines of the three suites of global context, multikey, multivalue and vt with 4 keys: the passkey task's at
// the test's first length, or the generator's texts through the run's tokenizer. Collective.
std::vector<GistLine> evaluate_global_context(GistRun& run, const GistTest& test, Communicator& comm);

}  // namespace braid
