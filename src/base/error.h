// SPDX-License-Identifier: Apache-2.0
// The two kinds of failure a user can meet, and the exit code of each. Thrown anywhere, caught once in cli/main.cpp,
// which prints the message as one line and ends the whole job.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace braid {

enum ExitCode : int {
  exit_done = 0,
  exit_failed = 1,
  exit_usage = 2,     // wrong use or configuration
  exit_requeue = 85,  // stopped on request with a checkpoint: start me again
};

// Something went wrong while running: exit code 1.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message) : std::runtime_error(message) {}
  virtual int exit_code() const { return exit_failed; }
};

// The command line, a configuration or an input file is wrong: exit code 2. The message names the file, the field
// and what was expected, on one line.
class UsageError : public Error {
 public:
  using Error::Error;
  int exit_code() const override { return exit_usage; }
};

// Joins its arguments as text: str("layer ", 3, " of ", n).
template <class... Parts>
std::string str(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

}  // namespace braid
