// SPDX-License-Identifier: Apache-2.0
// Preloaded into a run, makes its disk slow: a write at a position, an fsync and a rename take longer, so that a kill
// at a random moment often hits a save.
#include <dlfcn.h>
#include <sys/types.h>
#include <unistd.h>

namespace {

constexpr useconds_t write_delay = 200, sync_delay = 20'000, rename_delay = 5'000;  // microseconds

template <class Function>
Function original(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

ssize_t pwrite(int descriptor, const void* data, size_t bytes, off_t position) {
  static const auto real = original<ssize_t (*)(int, const void*, size_t, off_t)>("pwrite");
  usleep(write_delay);
  return real(descriptor, data, bytes, position);
}

int fsync(int descriptor) {
  static const auto real = original<int (*)(int)>("fsync");
  usleep(sync_delay);
  return real(descriptor);
}

int rename(const char* from, const char* to) {
  static const auto real = original<int (*)(const char*, const char*)>("rename");
  usleep(rename_delay);
  return real(from, to);
}

}  // extern "C"
