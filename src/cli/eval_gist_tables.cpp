// SPDX-License-Identifier: Apache-2.0
#include "cli/eval_gist_tables.h"

#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "base/text_table.h"
#include "train/memory.h"

namespace braid {

namespace {

using Cells = std::vector<std::vector<std::string>>;

std::string percent(double share) {
  char text[16];
  std::snprintf(text, sizeof text, "%.1f %%", 100 * share);
  return text;
}

std::string interval_text(const Interval& interval) { return percent(interval.low) + " to " + percent(interval.high); }

std::string number(const char* form, double value) {
  char text[32];
  std::snprintf(text, sizeof text, form, value);
  return text;
}

bool of_checkpoints(const std::vector<GistLine>& lines) {
  return std::any_of(lines.begin(), lines.end(), [&](const GistLine& line) { return line.step != lines.front().step; });
}

std::string score_text(const std::vector<GistLine>& lines) {
  Cells rows = {{"suite", "context", "depth", "system", "strict", "95 % interval", "of", "contains", "characters", "reads",
                 "ratio", "keys and values", "compress ms", "answer ms"}};
  const bool steps = of_checkpoints(lines);
  if (steps) rows[0].insert(rows[0].begin(), "step");
  for (const GistLine& line : lines) {
    const SystemResult& result = line.result;
    const AnswerTally tally = result.tally();
    const double of = double(std::max<int64_t>(tally.answers, 1));
    rows.push_back({line.suite, std::to_string(line.length), line.depth ? percent(*line.depth) : "any", result.system,
                    percent(double(tally.strict) / of), interval_text(tally.strict_interval()),
                    std::to_string(tally.answers), percent(double(tally.contains) / of), percent(tally.characters / of),
                    number("%.4g", result.read_positions), line.ratio() > 0 ? number("%.0f", line.ratio()) + "x" : "",
                    human_bytes(static_cast<int64_t>(result.read_bytes)), number("%.2f", 1e3 * result.compress_seconds),
                    number("%.2f", 1e3 * result.answer_seconds)});
    if (steps) rows.back().insert(rows.back().begin(), std::to_string(line.step));
  }
  return text_table(rows);
}

// Every system has its row, the searched text as well: what it gets wrong is said, too.
std::string kind_text(const std::vector<GistLine>& lines) {
  std::vector<std::string> head = {"suite", "context", "system"};
  for (size_t kind = 0; kind < answer_kinds; ++kind) head.emplace_back(name_of(static_cast<AnswerKind>(kind)));
  head.insert(head.end(), {"hallucination rate", "95 % interval"});
  Cells rows = {head};
  for (const GistLine& line : lines) {
    if (line.depth) continue;
    const AnswerTally tally = line.result.tally();
    rows.push_back({line.suite, std::to_string(line.length), line.result.system});
    for (const int64_t count : tally.kinds) rows.back().push_back(std::to_string(count));
    rows.back().push_back(percent(tally.share(AnswerKind::hallucination)));
    rows.back().push_back(interval_text(tally.interval(AnswerKind::hallucination)));
  }
  return text_table(rows);
}

std::string target_text(const std::vector<GistTarget>& targets) {
  Cells rows = {{"target", "verdict", "goal"}};
  for (const GistTarget& target : targets) rows.push_back({target.name, name_of(target.verdict), target.goal});
  std::string text = text_table(rows);
  for (const GistTarget& target : targets) text += str(target.name, ": ", target.measured, "\n");
  return text;
}

}  // namespace

std::string gist_report_text(const GistReport& report) {
  std::vector<GistLine> all = report.lines;
  all.insert(all.end(), report.global.begin(), report.global.end());
  std::string text = score_text(all) + "\n" + kind_text(all);
  if (report.even) {
    text += str("\ncompressing a context pays from its question ", number("%.3g", report.even->measured),
                " on (counting tokens: ", number("%.3g", report.even->formula), ")\n");
  }
  if (!report.targets.empty()) text += "\n" + target_text(report.targets);
  return text;
}

}  // namespace braid
