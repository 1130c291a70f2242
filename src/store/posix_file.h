// SPDX-License-Identifier: Apache-2.0
// POSIX files whose bytes are moved outside of HDF5: whole reads and writes at a position, and making them last. Every
// failure is an Error that names the file and the reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace braid {

class PosixFile {
 public:
  static PosixFile open_to_read(const std::string& path);
  static PosixFile open_to_change(const std::string& path);  // an existing file
  static PosixFile create(const std::string& path);          // empties one that is there
  PosixFile(PosixFile&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)) {}
  ~PosixFile();

  int64_t size() const;
  void read(void* out, size_t bytes, int64_t position) const;  // all of them, or Error
  void write(const void* data, size_t bytes, int64_t position);
  void sync();              // fsync
  // Takes room on the disk for the first `bytes` of the file, which becomes that long where it was shorter. Error when there
  // is not enough; nothing happens on file systems that cannot.
  void reserve(int64_t bytes);
  // Has the kernel begin to write [position, position + bytes) to the disk, and does not wait.
  void start_writing_out(int64_t position, int64_t bytes);
  void expect_in_order();   // the kernel may read ahead
  int descriptor() const { return descriptor_; }
  const std::string& path() const { return path_; }

 private:
  PosixFile(const std::string& path, int flags);
  int descriptor_ = -1;
  std::string path_;
};

void remove_file(const std::string& path) noexcept;  // if it is there
// Replaces `to` and makes the new name last. Error.
void rename_file(const std::string& from, const std::string& to);

// A text file that is there as a whole or as it was before. Error.
void replace_text_file(const std::string& path, const std::string& text);

// Makes names made, renamed or removed in a folder last. Network file systems that refuse are not an error.
void sync_folder(const std::string& folder);

}  // namespace braid
