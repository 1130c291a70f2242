// SPDX-License-Identifier: Apache-2.0
#include "train/time_limit.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <sstream>
#include <vector>

#include "base/error.h"

namespace braid {

double parse_time_limit(const std::string& text) {
  std::vector<double> parts;
  std::istringstream words(text);
  for (std::string word; std::getline(words, word, ':');) {
    double& value = parts.emplace_back();
    const auto [after, problem] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (problem != std::errc{} || after != word.data() + word.size() || !(value >= 0) || value > 1e9) parts.clear();
    if (parts.empty()) break;
  }
  double seconds = 0;
  for (const double part : parts) seconds = 60 * seconds + part;
  if (parts.empty() || parts.size() > 3 || text.back() == ':' || seconds <= 0) {
    throw UsageError(str("--time-limit ", text, ": expected seconds, MM:SS or HH:MM:SS, more than 0"));
  }
  return seconds;
}

namespace {

// EndTime=2026-01-02T03:04:05, in local time; "Unknown" where there is no limit.
std::optional<double> end_in(const std::string& description) {
  const size_t at = description.find("EndTime=");
  if (at == std::string::npos) return std::nullopt;
  std::tm local = {};
  if (!strptime(description.c_str() + at + 8, "%Y-%m-%dT%H:%M:%S", &local)) return std::nullopt;
  local.tm_isdst = -1;
  return static_cast<double>(std::mktime(&local));
}

std::string ask_scontrol(const std::string& job) {
  if (job.find_first_not_of("0123456789_") != std::string::npos) return "";
  const std::string command = "scontrol show job -o " + job + " 2>/dev/null";
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::string answer;
  char part[512];
  while (pipe && std::fgets(part, sizeof part, pipe.get())) answer += part;
  return answer;
}

}  // namespace

std::optional<double> slurm_end_time(const std::function<const char*(const char*)>& getenv,
                                     const std::function<std::string(const std::string& job)>& scontrol) {
  if (const char* end = getenv("SLURM_JOB_END_TIME")) {
    if (const double seconds = std::strtod(end, nullptr); seconds > 0) return seconds;
  }
  const char *job = getenv("SLURM_JOB_ID"), *array = getenv("SLURM_ARRAY_JOB_ID"), *element = getenv("SLURM_ARRAY_TASK_ID");
  if (!job) return std::nullopt;
  // One element's number is the array's as well, for which scontrol would list all of them.
  return end_in(scontrol(array && element ? str(array, "_", element) : job));
}

std::optional<double> slurm_end_time() {
  return slurm_end_time([](const char* name) -> const char* { return std::getenv(name); }, ask_scontrol);
}

TimeLimit time_limit_from(double own_seconds, double start) {
  const double job_end = slurm_end_time().value_or(0), own = own_seconds > 0 ? start + own_seconds : 0;
  if (job_end <= start) return own > 0 ? TimeLimit(own, start) : TimeLimit();
  return TimeLimit(own > 0 ? std::min(own, job_end) : job_end, start);
}

bool TimeLimit::reached(double now, double step_seconds, double save_seconds) const {
  if (!given()) return false;
  const double length = end_ - start_;
  const double reserve = std::clamp(length / 20, std::min(10.0, length / 5), 30.0);
  return now + 2 * step_seconds + 2 * save_seconds + reserve >= end_;
}

}  // namespace braid
