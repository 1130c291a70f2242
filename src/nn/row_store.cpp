// SPDX-License-Identifier: Apache-2.0
#include "nn/row_store.h"

#include "nn/precompiled.h"

namespace braid {

at::Tensor LocalRows::fetch(const at::Tensor& rows) {
  rows_ = rows;
  return table_.master.index_select(0, rows);
}

// No row comes twice, so that the order of additions does not matter.
void LocalRows::add_gradient(const at::Tensor& gradient) { table_.gradient.index_add_(0, rows_, gradient); }

}  // namespace braid
