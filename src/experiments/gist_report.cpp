// SPDX-License-Identifier: Apache-2.0
#include "experiments/gist_report.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <map>
#include <sstream>

#include "base/error.h"
#include "comm/agreement.h"

namespace braid {

namespace {

// Tokens that go through the model when a context is compressed.
int64_t compressed_tokens(const GistRun& run, const GistTest& test, int64_t length) {
  const SegmentPlan plan = plan_segments(length, segment_of(run, test), run.config.gist.overlap);
  return plan.segments() * (plan.length + run.loaded.gists->count());
}

template <class T>
T number_of(const std::string& key, std::string_view text, T least, T most) {
  T value{};
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem == std::errc() && end == text.data() + text.size() && value >= least && value <= most) return value;
  throw UsageError(str(key, ": expected a number from ", least, " to ", most, ", found \"", text, "\""));
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  std::stringstream list(text);
  for (std::string one; std::getline(list, one, ',');) parts.push_back(one);
  return parts;
}

std::vector<int64_t> lengths_of(const std::string& text) {
  std::vector<int64_t> lengths;
  for (const std::string& one : split(text))
    lengths.push_back(number_of<int64_t>("lengths", one, passkey::needle_tokens, int64_t{1} << 31));
  return lengths;
}

// As many as asked for, from the beginning to the end.
std::vector<double> depths_of(const std::string& text) {
  const auto count = number_of<int64_t>("depths", text, 0, 1001);
  if (count == 1) throw UsageError("depths: expected 0, or 2 or more, found 1");
  std::vector<double> depths;
  for (int64_t i = 0; i < count; ++i) depths.push_back(double(i) / double(count - 1));
  return depths;
}

void set(GistTest& test, const std::string& key, const std::string& value) {
  const auto whole = [&](int64_t least) { return number_of<int64_t>(key, value, least, int64_t{1} << 31); };
  const std::map<std::string, std::function<void()>> keys = {
      {"lengths", [&] { test.lengths = lengths_of(value); }},
      {"depths", [&] { test.depths = depths_of(value); }},
      {"limit", [&] { test.limit = whole(1); }},
      {"segment", [&] { test.segment = whole(0); }},
      {"seed", [&] { test.seed = whole(-1); }},
      {"keys", [&] { test.keys = number_of<int64_t>(key, value, 1, 32); }},
      {"task", [&] { test.kind = passkey_kind(value); }},
      {"distractors", [&] { test.distractors = number_of<double>(key, value, 0.0, 1.0); }},
      {"dataset", [&] { test.dataset = value; }},
      {"systems", [&] { test.systems = split(value); }},
      {"full", [&] { test.full = value != "no"; }}};
  const auto known = keys.find(key);
  if (known == keys.end()) {
    throw UsageError(str("expected lengths, depths, limit, segment, seed, keys, task, distractors, dataset, systems or "
                         "full, found ", key));
  }
  known->second();
}

}  // namespace

GistTest read_gist_test(const std::string& text) {
  GistTest test;
  std::stringstream words(text);
  for (std::string word; words >> word;) {
    const size_t sign = std::min(word.find('='), word.size());
    set(test, word.substr(0, sign), word.substr(std::min(sign + 1, word.size())));
  }
  return test;
}

GistReport report_gists(GistRun& run, const GistTest& test, const GistReportOptions& options, Communicator& comm) {
  GistReport report;
  report.lines = evaluate_gists(run, test, comm);
  if (!report.lines.empty())
    report.even = break_even(report.lines, compressed_tokens(run, test, report.lines.front().length));
  if (!options.targets) return report;
  report.global = evaluate_global_context(run, test, comm);
  agree_on_root(comm, [&] {
    report.probe = probe_batches(run, test, options.probe);
    report.targets = judge_targets(report.lines, report.global, report.probe);
  });
  return report;
}

std::vector<GistLine> gists_by_checkpoint(const std::string& run, const GistTest& test, Precision precision,
                                          const at::Device& device, Communicator& comm) {
  std::vector<std::string> checkpoints = find_checkpoints(run).checkpoints;
  std::reverse(checkpoints.begin(), checkpoints.end());
  GistTest gist = test;
  gist.systems = {"gist"};
  gist.depths.clear();
  std::vector<GistLine> lines;
  for (const std::string& checkpoint : checkpoints) {
    GistRun one;
    agree(comm, [&] { one = load_gist_run(checkpoint, precision, device); });
    for (GistLine& line : evaluate_gists(one, gist, comm)) lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace braid
