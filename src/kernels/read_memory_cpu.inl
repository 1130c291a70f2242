// SPDX-License-Identifier: Apache-2.0
// Included once per instruction set with BRAID_LEVEL defined.
#include <immintrin.h>
#include <omp.h>
#include <stddef.h>
#include <stdint.h>

#include <new>

#include "kernels/read_memory_cpu.h"

namespace braid::kernels::BRAID_LEVEL {
namespace {

#include "kernels/cpu_lanes.inl"
#include "kernels/cpu_few_tokens.inl"

constexpr int64_t at_once = 64 / vector_bytes;  // a cache line

uint64_t read_all(const void* data, int64_t bytes) {
  const LongLanes* const vectors = static_cast<const LongLanes*>(data);
  const int64_t lines = bytes / 64;
  uint64_t total = 0;
#pragma omp parallel reduction(^ : total)
  {
    LongLanes sums[at_once] = {};
#pragma omp for schedule(static)
    for (int64_t line = 0; line < lines; ++line) {
      __builtin_prefetch(static_cast<const char*>(data) + line * 64 + bytes_ahead);
#pragma GCC unroll 4
      for (int64_t i = 0; i < at_once; ++i) sums[i] ^= vectors[line * at_once + i];
    }
    for (const LongLanes& sum : sums) {
      for (int64_t lane = 0; lane < vector_bytes / 8; ++lane) total ^= sum[lane];
    }
  }
  return total;
}

}  // namespace

const ReadMemory read_memory = read_all;

}  // namespace braid::kernels::BRAID_LEVEL
