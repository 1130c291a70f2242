// SPDX-License-Identifier: Apache-2.0
// Samples of a context and, behind it, a question with its answer: what compression is trained on.
#pragma once

#include "data/dataset.h"

namespace braid {

class ContextTask : public Dataset {
 public:
  virtual int64_t context() const = 0;  // tokens before the question; all others of length() are question and answer
  // As sample(); returns the tokens of the context that hold what is asked for, from the first statement to the last.
  virtual Slice sample_with_needle(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const = 0;
};

}  // namespace braid
