// SPDX-License-Identifier: Apache-2.0
#include "base/append_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace braid {

AppendFile::~AppendFile() { close(); }

void AppendFile::close() {
  if (is_open()) ::close(descriptor_);
  descriptor_ = -1;
}

void AppendFile::open(const std::string& path) {
  close();
  descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}

bool AppendFile::append(const std::string& line) {
  const std::string text = line + "\n";
  const off_t end = lseek(descriptor_, 0, SEEK_END);
  size_t written = 0;
  while (written < text.size()) {
    const ssize_t count = ::write(descriptor_, text.data() + written, text.size() - written);
    if (count > 0) {
      written += static_cast<size_t>(count);
    } else if (count == 0 || errno != EINTR) {
      // Shrinking needs no space; where it fails all the same, the torn line stays and the caller knows.
      if (written > 0 && end >= 0) [[maybe_unused]] const int result = ftruncate(descriptor_, end);
      return false;
    }
  }
  return true;
}

}  // namespace braid
