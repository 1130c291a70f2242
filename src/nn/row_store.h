// SPDX-License-Identifier: Apache-2.0
// Where the rows of a large table lie: here, or elsewhere (parallel/sharded_rows.h).
#pragma once

#include <cstdint>

#include "nn/parameter.h"

namespace braid {

// Rows [first, first + count) of a table.
struct RowRange {
  int64_t first = 0, count = 0;
};

class RowStore {
 public:
  virtual ~RowStore() = default;
  // The rows of these numbers, [n] int64 and rising: [n, width] in master type. Collective where others hold some.
  virtual at::Tensor fetch(const at::Tensor& rows) = 0;
  // Adds the gradients [n, width] of the rows fetched last to where they lie. Collective likewise.
  virtual void add_gradient(const at::Tensor& gradient) = 0;
};

// All rows are in this process.
class LocalRows final : public RowStore {
 public:
  explicit LocalRows(Parameter& table) : table_(table) {}
  at::Tensor fetch(const at::Tensor& rows) override;
  void add_gradient(const at::Tensor& gradient) override;

 private:
  Parameter& table_;
  at::Tensor rows_;
};

}  // namespace braid
