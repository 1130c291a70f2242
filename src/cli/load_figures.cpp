// SPDX-License-Identifier: Apache-2.0
#include "cli/load_figures.h"

#include <cstdio>

#include "base/error.h"
#include "base/statistics.h"
#include "experiments/hardware.h"

namespace braid {

namespace {

using nlohmann::ordered_json;

ordered_json percentiles(const std::vector<double>& seconds) {
  if (seconds.empty()) return nullptr;
  return {{"p50", percentile(seconds, 50)}, {"p90", percentile(seconds, 90)}, {"p99", percentile(seconds, 99)}};
}

// " 12.3 / 45.6 / 78.9" milliseconds.
std::string milliseconds(const ordered_json& of) {
  if (of.is_null()) return "-";
  char text[64];
  std::snprintf(text, sizeof text, "%.1f / %.1f / %.1f", 1000 * of["p50"].get<double>(), 1000 * of["p90"].get<double>(),
                1000 * of["p99"].get<double>());
  return text;
}

// The metric's line, without its value.
size_t line_of(const std::string& text, const std::string& name) {
  if (text.starts_with(name)) return 0;
  const size_t found = text.find("\n" + name);
  return found == std::string::npos ? found : found + 1;
}

}  // namespace

double ServerMetrics::value(const std::string& name) const {
  const size_t found = line_of(text_, name + " ");
  return found == std::string::npos ? 0 : std::stod(text_.substr(found + name.size() + 1, 40));
}

std::string ServerMetrics::label(const std::string& name, const std::string& label) const {
  const size_t line = line_of(text_, name + "{");
  const size_t at = line == std::string::npos ? line : text_.find(label + "=\"", line);
  if (at == std::string::npos) return "";
  const size_t begin = at + label.size() + 2;
  return text_.substr(begin, text_.find('"', begin) - begin);
}

ordered_json load_figures(const std::vector<std::vector<StreamTiming>>& timings, double seconds) {
  std::vector<double> first, between, whole;
  int64_t requests = 0, failed = 0, prompt_tokens = 0, tokens = 0;
  std::string problem;
  for (const auto& client : timings) {
    for (const StreamTiming& one : client) {
      ++requests;
      if (!one.problem.empty()) {
        ++failed;
        problem = one.problem;
        continue;
      }
      prompt_tokens += one.prompt_tokens, tokens += one.tokens;
      whole.push_back(one.whole);
      if (!one.pieces.empty()) first.push_back(one.pieces.front());
      for (size_t i = 1; i < one.pieces.size(); ++i) between.push_back(one.pieces[i] - one.pieces[i - 1]);
    }
  }
  ordered_json line = {
      {"streams", timings.size()}, {"requests", requests},
      {"failed", failed},          {"problem", problem.empty() ? ordered_json(nullptr) : ordered_json(problem)},
      {"seconds", seconds},        {"prompt_tokens", prompt_tokens},
      {"tokens", tokens}};
  line["first_token_seconds"] = percentiles(first);
  line["between_pieces_seconds"] = percentiles(between);
  line["request_seconds"] = percentiles(whole);
  line["tokens_per_second"] = double(tokens) / seconds;
  line["requests_per_second"] = double(requests - failed) / seconds;
  return line;
}

void add_server_figures(ordered_json& line, const ServerMetrics& before, const ServerMetrics& after, double bandwidth) {
  const auto grown = [&](const char* name) { return after.value(name) - before.value(name); };
  const double steps = grown("braid_steps_total"),
               read = grown("braid_read_bytes_total") / line["seconds"].get<double>();
  line["steps"] = steps;
  line["tokens_per_step"] = steps > 0 ? grown("braid_step_tokens_total") / steps : 0;
  line["proposed_tokens"] = grown("braid_proposed_tokens_total");
  line["accepted_tokens"] = grown("braid_accepted_tokens_total");
  ordered_json memory;
  for (const char* kind : {"weights", "cache", "workspace", "peak"}) {
    memory[kind] = after.value(str("braid_memory_bytes{kind=\"", kind, "\"}"));
  }
  const bool measurable = memory["weights"].get<int64_t>() > bytes_beyond_caches() && bandwidth > 0;
  line["memory_bytes"] = std::move(memory);
  line["read_bytes_per_second"] = read;
  line["measured_read_bytes_per_second"] = bandwidth;
  line["read_share"] = measurable ? ordered_json(read / bandwidth) : ordered_json(nullptr);
}

std::string load_table_head() {
  return "streams  requests  failed  first token ms p50/p90/p99     between pieces ms p50/p90/p99  tokens/s  requests/s"
         "  of bandwidth\n";
}

std::string load_table_row(const ordered_json& line) {
  const bool has_share = line.contains("read_share") && line["read_share"].is_number();
  const std::string share = has_share ? str(int64_t(100 * line["read_share"].get<double>() + 0.5), " %") : "-";
  char text[256];
  std::snprintf(text, sizeof text, "%7lld  %8lld  %6lld  %-29s  %-29s  %8.1f  %10.2f  %12s\n",
                static_cast<long long>(line["streams"].get<int64_t>()),
                static_cast<long long>(line["requests"].get<int64_t>()),
                static_cast<long long>(line["failed"].get<int64_t>()),
                milliseconds(line["first_token_seconds"]).c_str(), milliseconds(line["between_pieces_seconds"]).c_str(),
                line["tokens_per_second"].get<double>(), line["requests_per_second"].get<double>(), share.c_str());
  return text;
}

}  // namespace braid
