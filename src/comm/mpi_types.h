// SPDX-License-Identifier: Apache-2.0
// Elements as MPI knows them, and their sums, which MPI has not for bf16.
#pragma once

#include <mpi.h>

#include <cstddef>

#include "comm/communicator.h"

namespace braid {

MPI_Datatype mpi_type(Dtype dtype);

// RAII over the user operations on bf16.
class Bf16Ops {
 public:
  Bf16Ops();
  ~Bf16Ops();
  Bf16Ops(const Bf16Ops&) = delete;
  Bf16Ops& operator=(const Bf16Ops&) = delete;
  MPI_Op of(ReduceOp op) const { return op == ReduceOp::sum ? sum_ : op == ReduceOp::max ? max_ : min_; }

 private:
  MPI_Op sum_, max_, min_;
};

// b += a, of float32 or bfloat16.
bool has_sum(Dtype dtype);
void add_elements(Dtype dtype, const std::byte* a, std::byte* b, int count);

inline std::byte* element_at(const Buffer& buffer, size_t element) {
  return static_cast<std::byte*>(buffer.data) + element * size_of(buffer.dtype);
}

}  // namespace braid
