// SPDX-License-Identifier: Apache-2.0
#include "experiments/gist_targets.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <limits>

#include "base/error.h"
#include "train/memory.h"

namespace braid {

namespace {

constexpr double least_accuracy = 0.9, least_ratio = 100, least_saving = 0.5, most_hallucination = 0.1, least_global = 0.8;

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %%", 100 * share);
  return text;
}

std::string decimal(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

std::string interval_text(const Interval& interval) { return percent(interval.low) + " to " + percent(interval.high); }

const GistLine* line_of(const std::vector<GistLine>& lines, const std::string& system) {
  const auto is = [&](const GistLine& line) { return line.result.system == system && !line.depth; };
  const auto at = std::find_if(lines.begin(), lines.end(), is);
  return at == lines.end() ? nullptr : &*at;
}

// The largest batch that both were asked at.
std::pair<const ProbeLine*, const ProbeLine*> last_probes(const std::vector<ProbeLine>& probe) {
  const ProbeLine *gist = nullptr, *full = nullptr;
  for (const ProbeLine& line : probe) (line.system == "gist" ? gist : full) = &line;
  return {gist, full};
}

GistTarget accuracy(const GistLine& gist) {
  const AnswerTally tally = gist.result.tally();
  const Interval interval = tally.strict_interval();
  GistTarget target{"accuracy", "strict, the lower 95 % bound above 90 %",
                    str(tally.strict, " of ", tally.answers, ", ", interval_text(interval)), TargetVerdict::fail};
  const double best = wilson_interval(tally.answers, tally.answers).low;
  if (interval.low > least_accuracy) {
    target.verdict = TargetVerdict::pass;
  } else if (best <= least_accuracy) {
    target.verdict = TargetVerdict::not_reachable;
    target.measured += str("; all of ", tally.answers, " right would give ", percent(best), " at least");
  }
  return target;
}

GistTarget compression(const GistLine& gist) {
  GistTarget target{"compression", "100 to 400 times fewer positions",
                    str(decimal(gist.ratio()), "x: ", decimal(gist.result.context_tokens()), " tokens to ",
                        decimal(gist.result.read_positions), " positions, ",
                        human_bytes(static_cast<int64_t>(gist.result.read_bytes)), " of keys and values"),
                    gist.ratio() >= least_ratio ? TargetVerdict::pass : TargetVerdict::fail};
  if (double(gist.length) < least_ratio) {
    target.verdict = TargetVerdict::not_reachable;
    target.measured += str("; one position is the least there is");
  }
  return target;
}

double saving(const ProbeLine& gist, const ProbeLine& full) { return 1 - double(gist.peak_bytes) / double(full.peak_bytes); }

// What is held before either begins (weights, the process) cannot be saved.
GistTarget peak_memory(const std::vector<ProbeLine>& probe) {
  GistTarget target{"peak memory", "half of what the full context needs", "no probe", TargetVerdict::not_measured};
  const auto [gist, full] = last_probes(probe);
  if (!gist || !full) return target;
  target.measured = "";
  for (size_t i = 0; i + 1 < probe.size(); i += 2) {
    const ProbeLine &less = probe[i], &more = probe[i + 1];
    target.measured += str(i > 0 ? "; " : "", "batch ", less.batch, ": ", human_bytes(less.peak_bytes), " of ",
                           human_bytes(more.peak_bytes), ", ", percent(saving(less, more)), " saved");
  }
  const double floor = double(full->resident_bytes) / double(full->peak_bytes);
  target.verdict = saving(*gist, *full) >= least_saving ? TargetVerdict::pass : TargetVerdict::fail;
  if (target.verdict == TargetVerdict::fail && floor > 1 - least_saving) {
    target.verdict = TargetVerdict::not_reachable;
    target.measured += str("; ", human_bytes(full->resident_bytes), " (", percent(floor), ") are there without a context");
  }
  return target;
}

GistTarget throughput(const std::vector<ProbeLine>& probe) {
  GistTarget target{"throughput", "no fewer answers a second, compression included", "no probe", TargetVerdict::not_measured};
  const auto [gist, full] = last_probes(probe);
  if (!gist || !full) return target;
  target.measured = "";
  for (size_t i = 0; i + 1 < probe.size(); i += 2) {
    const ProbeLine &less = probe[i], &more = probe[i + 1];
    target.measured += str(i > 0 ? "; " : "", "batch ", less.batch, ": ", decimal(less.answers_per_second()), "/s to ",
                           decimal(more.answers_per_second()), "/s, compressed before ",
                           decimal(double(less.batch) / less.answer_seconds), "/s");
  }
  target.verdict = gist->answers_per_second() >= full->answers_per_second() ? TargetVerdict::pass : TargetVerdict::fail;
  return target;
}

GistTarget hallucination(const GistLine& gist) {
  const AnswerTally tally = gist.result.tally();
  const Interval interval = tally.interval(AnswerKind::hallucination);
  GistTarget target{"hallucination", "low (no number published; here the upper 95 % bound below 10 %)",
                    str(tally.count(AnswerKind::hallucination), " of ", tally.answers, ", ", interval_text(interval)),
                    interval.high < most_hallucination ? TargetVerdict::pass : TargetVerdict::fail};
  const double best = wilson_interval(0, tally.answers).high;
  if (best >= most_hallucination) {
    target.verdict = TargetVerdict::not_reachable;
    target.measured += str("; none of ", tally.answers, " would give up to ", percent(best));
  }
  return target;
}

GistTarget global_context(const std::vector<GistLine>& global) {
  GistTarget target{"global context", "80 % of what is asked for, the mean of three tasks",
                    "4 statements do not fit into the context",
                    TargetVerdict::not_measured};
  if (global.empty()) return target;
  target.measured = "";
  double mean = 0;
  for (const GistLine& line : global) {
    const AnswerTally tally = line.result.tally();
    const double recall = tally.recall / double(std::max<int64_t>(tally.answers, 1));
    mean += recall / double(global.size());
    target.measured += str(target.measured.empty() ? "" : "; ", line.suite, " ", percent(recall), ", all right ",
                           interval_text(tally.strict_interval()));
  }
  target.measured += str("; mean ", percent(mean));
  target.verdict = mean >= least_global ? TargetVerdict::pass : TargetVerdict::fail;
  return target;
}

// Whether contexts of that length have room for all statements.
bool have_room(const GistRun& run, const GistTest& test, int64_t length) {
  try {
    questions_of(run, test, length, {}).question(0);
    return true;
  } catch (const UsageError&) {
    return false;
  }
}

}  // namespace

const char* name_of(TargetVerdict verdict) {
  constexpr std::array<const char*, 4> names = {"PASS", "FAIL", "NOT REACHABLE", "NOT MEASURED"};
  return names[static_cast<size_t>(verdict)];
}

std::optional<BreakEven> break_even(const std::vector<GistLine>& lines, int64_t compressed_tokens) {
  const GistLine *gist = line_of(lines, "gist"), *full = line_of(lines, "full");
  if (!gist || !full) return std::nullopt;
  const auto questions = [](double once, double saved) {
    return saved > 0 ? once / saved : std::numeric_limits<double>::infinity();
  };
  return BreakEven{questions(double(compressed_tokens), gist->result.context_tokens() - gist->result.read_positions),
                   questions(gist->result.compress_seconds, full->result.compress_seconds + full->result.answer_seconds -
                                                                gist->result.answer_seconds)};
}

std::vector<GistTarget> judge_targets(const std::vector<GistLine>& lines, const std::vector<GistLine>& global,
                                      const std::vector<ProbeLine>& probe) {
  const GistLine* gist = line_of(lines, "gist");
  if (!gist) return {};
  return {accuracy(*gist), compression(*gist), peak_memory(probe), throughput(probe), hallucination(*gist),
          global_context(global)};
}

std::vector<GistLine> evaluate_global_context(GistRun& run, const GistTest& test, Communicator& comm) {
  std::vector<GistLine> lines;
  for (const PasskeyKind kind : {PasskeyKind::multikey, PasskeyKind::multivalue, PasskeyKind::vt}) {
    GistTest several = test;
    several.keys = 4;
    several.kind = kind;
    const int64_t length = test.lengths.empty() ? run.config.gist.eval_length : test.lengths.front();
    several.generated = !test.dataset.empty();
    if (!have_room(run, several, length)) continue;
    several.systems = {"gist"};
    several.depths.clear();
    if (several.lengths.size() > 1) several.lengths.resize(1);
    for (GistLine& line : evaluate_gists(run, several, comm)) lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace braid
