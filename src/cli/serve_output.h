// SPDX-License-Identifier: Apache-2.0
// What a server and a front tell their user, and where their log goes.
#pragma once

#include <cstdint>
#include <fstream>
#include <iostream>
#include <string>

namespace braid {

void say(const std::string& line);  // on standard output, at once

std::string url_of(const std::string& host, uint16_t port);  // where others reach it

// A file, or "-" for standard error. UsageError: it cannot be written.
class AccessLogFile {
 public:
  explicit AccessLogFile(const std::string& path);
  std::ostream& out() { return file_.is_open() ? static_cast<std::ostream&>(file_) : std::cerr; }

 private:
  std::ofstream file_;
};

// Lets this process open so many files beside some of its own; told on standard error where the system does not.
void raise_file_limit(size_t files);

}  // namespace braid
