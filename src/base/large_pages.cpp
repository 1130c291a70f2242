// SPDX-License-Identifier: Apache-2.0
#include "base/large_pages.h"

#include <sys/mman.h>

namespace braid {

namespace {

constexpr uintptr_t large = uintptr_t{2} << 20;

}  // namespace

void prefer_large_pages(void* data, int64_t bytes) {
  constexpr uintptr_t small = 4096;
  const auto begin = reinterpret_cast<uintptr_t>(data) / small * small;
  const auto end = reinterpret_cast<uintptr_t>(data) + static_cast<uintptr_t>(bytes);
  if (bytes >= static_cast<int64_t>(large)) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}

void gather_into_large_pages(const void* data, int64_t bytes) {
  constexpr int collapse = 25;  // MADV_COLLAPSE, which older headers do not name
  if (bytes < static_cast<int64_t>(large)) return;
  const auto begin = reinterpret_cast<uintptr_t>(data), end = begin + static_cast<uintptr_t>(bytes);
  // One by one: one that cannot be made, as at an end beyond which there is no memory, does not keep others from it.
  for (uintptr_t page = begin / large * large; page < end; page += large) {
    madvise(reinterpret_cast<void*>(page), large, collapse);
  }
}

}  // namespace braid
