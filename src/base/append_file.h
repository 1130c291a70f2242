// SPDX-License-Identifier: Apache-2.0
// A file that grows by whole lines: a line that does not fit (full disk) leaves no part of itself behind, so that every
// line of the file parses by itself.
#pragma once

#include <string>

namespace braid {

class AppendFile {
 public:
  AppendFile() = default;
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  void open(const std::string& path);  // created when missing; on failure is_open() is false
  bool is_open() const { return descriptor_ >= 0; }
  bool append(const std::string& line);  // adds the line's end; false when it could not be written

 private:
  void close();
  int descriptor_ = -1;
};

}  // namespace braid
