// SPDX-License-Identifier: Apache-2.0
#include "store/posix_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/error.h"

namespace braid {

namespace {

[[noreturn]] void fail(const std::string& path, const char* what) {
  throw Error(str(path, ": ", what, ": ", std::strerror(errno)));
}

}  // namespace

PosixFile::PosixFile(const std::string& path, int flags)
    : descriptor_(open(path.c_str(), flags | O_CLOEXEC, 0666)), path_(path) {
  if (descriptor_ < 0) fail(path, "cannot be opened");
}

PosixFile PosixFile::open_to_read(const std::string& path) { return PosixFile(path, O_RDONLY); }
PosixFile PosixFile::open_to_change(const std::string& path) { return PosixFile(path, O_RDWR); }
PosixFile PosixFile::create(const std::string& path) { return PosixFile(path, O_RDWR | O_CREAT | O_TRUNC); }

PosixFile::~PosixFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

int64_t PosixFile::size() const {
  struct stat info = {};
  if (fstat(descriptor_, &info) != 0) fail(path_, "its size is unknown");
  return info.st_size;
}

void PosixFile::read(void* out, size_t bytes, int64_t position) const {
  auto* next = static_cast<char*>(out);
  while (bytes > 0) {
    const ssize_t got = pread(descriptor_, next, bytes, position);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(path_, "cannot be read");
    if (got == 0) throw Error(str(path_, ": ends at byte ", position, ", ", bytes, " bytes too early"));
    next += got, position += got, bytes -= static_cast<size_t>(got);
  }
}

void PosixFile::write(const void* data, size_t bytes, int64_t position) {
  auto* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t put = pwrite(descriptor_, next, bytes, position);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail(path_, "cannot be written");
    next += put, position += put, bytes -= static_cast<size_t>(put);
  }
}

void PosixFile::sync() {
  if (fsync(descriptor_) != 0) fail(path_, "fsync");
}

void PosixFile::reserve(int64_t bytes) {
  while (fallocate(descriptor_, 0, 0, bytes) != 0) {
    if (errno == ENOSPC || errno == EDQUOT || errno == EIO) fail(path_, "cannot be written");
    if (errno != EINTR) return;
  }
}

void PosixFile::start_writing_out(int64_t position, int64_t bytes) {
  sync_file_range(descriptor_, position, bytes, SYNC_FILE_RANGE_WRITE);  // where it fails, sync() does it all
}

void PosixFile::expect_in_order() { posix_fadvise(descriptor_, 0, 0, POSIX_FADV_SEQUENTIAL); }

void remove_file(const std::string& path) noexcept { unlink(path.c_str()); }

void rename_file(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) fail(to, "cannot be written");
  sync_folder(std::filesystem::path(to).parent_path().string());
}

void replace_text_file(const std::string& path, const std::string& text) {
  const std::string temporary = path + ".new";
  {
    PosixFile file = PosixFile::create(temporary);
    file.write(text.data(), text.size(), 0);
    file.sync();
  }
  rename_file(temporary, path);
}

void sync_folder(const std::string& folder) {
  const int descriptor = open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  fsync(descriptor);
  close(descriptor);
}

}  // namespace braid
