// SPDX-License-Identifier: Apache-2.0
// BRAID_CPU_LEVEL narrows the instruction set and never widens it.
#include "kernels/cpu_level.h"

#include "support.h"

namespace braid::kernels {
namespace {

TEST(CpuLevel, IsTheBestOfThisProcessorUnlessNarrowed) {
  unsetenv("BRAID_CPU_LEVEL");
  EXPECT_EQ(chosen_cpu_level(), best_cpu_level());
  test::at_every_level([] { EXPECT_EQ(std::string(name_of(chosen_cpu_level())), std::getenv("BRAID_CPU_LEVEL")); });
}

TEST(CpuLevel, ANamedOneHasNoPairsOfBFloat16) {
  test::at_every_level([] { EXPECT_FALSE(has_bf16_pairs() || has_word_pairs() || has_tiles()); });
}

TEST(CpuLevel, RefusesAnUnknownName) {
  setenv("BRAID_CPU_LEVEL", "sse9", 1);
  EXPECT_THROW(chosen_cpu_level(), UsageError);
  unsetenv("BRAID_CPU_LEVEL");
}

}  // namespace
}  // namespace braid::kernels
