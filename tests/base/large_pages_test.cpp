// SPDX-License-Identifier: Apache-2.0
#include "base/large_pages.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

namespace braid {
namespace {

constexpr size_t mebibyte = size_t{1} << 20;

// KiB in large pages of the mapping that holds the address, as the system tells it.
int64_t large_kibibytes_at(const void* address) {
  std::ifstream smaps("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(smaps, line);) {
    uintptr_t begin = 0, end = 0;
    char dash = 0;
    if (std::istringstream range(line); range >> std::hex >> begin >> dash >> end && dash == '-') {
      inside = begin <= reinterpret_cast<uintptr_t>(address) && reinterpret_cast<uintptr_t>(address) < end;
    } else if (inside && line.starts_with("AnonHugePages:")) {
      return std::stoll(line.substr(std::strlen("AnonHugePages:")));
    }
  }
  return 0;
}

TEST(LargePages, KeepWhatLiesThereAndBesideIt) {
  const size_t bytes = 9 * mebibyte;
  const std::unique_ptr<unsigned char, decltype(&std::free)> memory(
      static_cast<unsigned char*>(std::aligned_alloc(2 * mebibyte, 10 * mebibyte)), &std::free);
  for (size_t i = 0; i < bytes; ++i) memory.get()[i] = static_cast<unsigned char>(i * 2654435761u >> 24);
  gather_into_large_pages(memory.get() + mebibyte / 2, 8 * mebibyte);
  gather_into_large_pages(memory.get() + mebibyte / 2, 100);
  for (size_t i = 0; i < bytes; ++i) ASSERT_EQ(memory.get()[i], static_cast<unsigned char>(i * 2654435761u >> 24)) << i;
  if (large_kibibytes_at(memory.get() + 4 * mebibyte) == 0) GTEST_SKIP() << "this system makes no large pages";
}

}  // namespace
}  // namespace braid
