// SPDX-License-Identifier: Apache-2.0
// Every word is read once, at every instruction set and on any number of threads.
#include "kernels/read_memory.h"

#include "support.h"

namespace braid::kernels {
namespace {

using namespace test;

struct alignas(64) Line {
  uint64_t words[8];
};

TEST(ReadMemory, ReadsEveryWordOnceAtEveryInstructionSet) {
  std::vector<Line> lines(1003);
  std::mt19937_64 generator(fresh_seed());
  uint64_t all = 0;
  for (Line& line : lines) {
    for (uint64_t& word : line.words) all ^= word = generator();
  }
  at_every_level([&] {
    EXPECT_EQ(read_memory(lines.data(), int64_t(lines.size() * sizeof(Line))), all);
    with_threads(3, [&] { EXPECT_EQ(read_memory(lines.data(), int64_t(lines.size() * sizeof(Line))), all); });
  });
}

}  // namespace
}  // namespace braid::kernels
