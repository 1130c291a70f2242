// SPDX-License-Identifier: Apache-2.0
// Rank-aware logging: rank 0 speaks on the terminal, the others only on trouble (each line then names rank and host).
// Everything also goes to log.jsonl once a run folder is known (rank 0: all lines; others are silent there).
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace braid {

using LogFields = std::vector<std::pair<std::string, std::string>>;

class Logger {
 public:
  explicit Logger(int rank = 0, int world_size = 1);
  ~Logger();
  Logger(const Logger&) = delete;
  Logger& operator=(const Logger&) = delete;

  void info(const std::string& message);     // stdout, rank 0 only
  void warning(const std::string& message);  // stderr, every rank
  void error(const std::string& message);    // stderr, every rank
  // A machine-readable line in log.jsonl only: {"time":…, "event": name, fields…}.
  void event(const std::string& name, const LogFields& fields);

  // Opens DIR/log.jsonl for appending (rank 0); earlier lines are written into it.
  void open_file(const std::string& path);
  // Keeps info lines off the terminal (the progress bar of a sweep, --quiet).
  void set_quiet(bool quiet);
  int rank() const;

 private:
  void write(const std::string& level, const std::string& message, const LogFields& fields);
  std::string from_here(const std::string& message) const;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace braid
