// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu_level.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>

#include "base/error.h"

namespace braid::kernels {

CpuLevel best_cpu_level() {
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (avx512) return CpuLevel::avx512;
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  return avx2 ? CpuLevel::avx2 : CpuLevel::base;
}

const char* name_of(CpuLevel level) {
  return level == CpuLevel::avx512 ? "avx512" : level == CpuLevel::avx2 ? "avx2" : "base";
}

CpuLevel chosen_cpu_level() {
  const CpuLevel best = best_cpu_level();
  const char* wish = std::getenv("BRAID_CPU_LEVEL");
  if (!wish) return best;
  for (const CpuLevel level : {CpuLevel::base, CpuLevel::avx2, CpuLevel::avx512}) {
    if (std::string(wish) == name_of(level) && level <= best) return level;
  }
  throw UsageError(str("BRAID_CPU_LEVEL=", wish, ": expected base, avx2 or avx512, at most ", name_of(best), " here"));
}

namespace {

// What is beyond the levels: none of it where the environment names one.
bool may_go_beyond() { return !std::getenv("BRAID_CPU_LEVEL") && best_cpu_level() == CpuLevel::avx512; }

// Tiles are 8 KiB more of each thread's state, so the system wants to be asked once (Linux, Documentation/arch/x86/xstate).
bool ask_for_tiles() {
  constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, of arch_prctl
  return __builtin_cpu_supports("amx-bf16") && syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}

}  // namespace

bool has_bf16_pairs() { return may_go_beyond() && __builtin_cpu_supports("avx512bf16"); }

bool has_word_pairs() { return may_go_beyond() && __builtin_cpu_supports("avx512vnni"); }

bool has_tiles() {
  static const bool granted = ask_for_tiles();
  return granted && has_bf16_pairs();
}

}  // namespace braid::kernels
