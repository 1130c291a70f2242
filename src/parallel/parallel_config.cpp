// SPDX-License-Identifier: Apache-2.0
#include "parallel/parallel_config.h"

namespace braid {

void ParallelConfig::describe(ConfigSection& s) {
  s.value("tensor", tensor,
          "so many ranks that follow each other hold one copy of the model between them, each some heads, a part of the "
          "MLP and of the vocabulary, and see the same samples; 1: each holds all of it [ranks]",
          1, 4096);
}

}  // namespace braid
