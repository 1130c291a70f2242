// SPDX-License-Identifier: Apache-2.0
// What is before each of many tokens in its own text, wherever that is kept: for steps of inference, whose rows are
// tokens of many texts (infer/engine_step.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace braid {

class RowPast {
 public:
  virtual ~RowPast() = default;
  // Keeps these rows' own ids [R, 1] and gives them behind those of the `count` tokens before each, [R, count + 1];
  // where a text has none, some id.
  virtual at::Tensor ids(const at::Tensor& own, int64_t count) = 0;
  // The same of what convolution `number` hears, [R, 1, D] to [R, count + 1, D].
  virtual at::Tensor heard(int64_t number, const at::Tensor& own, int64_t count) = 0;
};

}  // namespace braid
