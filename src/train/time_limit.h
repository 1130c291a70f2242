// SPDX-License-Identifier: Apache-2.0
// When a run must be over: a limit the user gave, or the end of the batch job it runs in.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace braid {

// Seconds of "90", "15:00" or "1:30:00". UsageError.
double parse_time_limit(const std::string& text);

// When the SLURM job around this process ends, in seconds since 1970: SLURM_JOB_END_TIME, else what scontrol says of
// SLURM_JOB_ID. Nothing outside of a job or without a limit.
std::optional<double> slurm_end_time(const std::function<const char*(const char*)>& getenv,
                                     const std::function<std::string(const std::string& job)>& scontrol);
std::optional<double> slurm_end_time();  // of this process

class TimeLimit {
 public:
  TimeLimit() = default;  // none
  TimeLimit(double end, double start) : end_(end), start_(start) {}  // seconds since 1970

  bool given() const { return end_ > 0; }
  // Whether to stop now, when the slowest recent step took `step_seconds` and a save takes about `save_seconds`. What is
  // kept in hand is twice both and a twentieth of the limit: at least 10 s, which a job of many ranks needs to end after its
  // last save, at most 30 s; of limits under 50 s a fifth.
  bool reached(double now, double step_seconds, double save_seconds) const;

 private:
  double end_ = 0, start_ = 0;
};

// A limit of `own_seconds` counted from `start` (0: none given) or the batch job's end, whichever comes first.
TimeLimit time_limit_from(double own_seconds, double start);

}  // namespace braid
