// SPDX-License-Identifier: Apache-2.0
// Reads and writes of the residual streams of hyper-connections (arXiv 2409.19606; mHC arXiv 2512.24880 section 4.3),
// with one set of coefficients per connection (static) or per token (dynamic).
//   read:  m = sum_t w[t] X[t]                          X [M, S, D], m [M, D]
//   write: X'[s] = sum_t H[s,t] X[t] + c[s] f           f [M, D], X' [M, S, D]
//   write_read: the write and the next connection's read m' = sum_t w'[t] X'[t] in one pass over memory.
// M is tokens (B*T), S streams (1..8), D width. Coefficients are fp32; X is float or bf16 (`uint16_t` bits), sums in fp32.
// Gradients of coefficients are ADDED to their outputs in fp32, in an order that does not depend on the thread count.
// CPU and CUDA twins have the same signature; `stream` is the CUDA stream, ignored on CPU.
#pragma once

#include <cstdint>

#include "kernels/launch.h"

namespace braid::kernels {

struct StreamShape {
  int64_t tokens, streams, width;
  bool per_token = false;  // coefficients have a leading [M] dimension
};

// With Element::float64 (the reference in tests) coefficients and their gradients are double as well.
void stream_read(Launch, StreamShape, Element, const void* X, const void* w, void* m);
// dX (+)= w dm: `accumulate_dX` adds to dX, else overwrites. dw[t] += sum X[t].dm. Any of dX, dw may be null.
void stream_read_backward(Launch, StreamShape, Element, const void* X, const void* w, const void* dm, void* dX,
                          bool accumulate_dX, void* dw);

// w_next and m_next null: write alone. X_out may be X (in place).
void stream_write_read(Launch, StreamShape, Element, const void* X, const void* H, const void* c, const void* f,
                       const void* w_next, void* X_out, void* m_next);
// Backward of write_read. dX_out [M,S,D] is the gradient of X'; dm_next may be null (write alone). X_out is needed for
// dw_next only. dX may be dX_out (in place). df [M, D] is overwritten; dH, dc, dw_next are added to.
void stream_write_read_backward(Launch, StreamShape, Element, const void* X, const void* H, const void* c, const void* f,
                                const void* w_next, const void* X_out, const void* dX_out, const void* dm_next, void* dX,
                                void* df, void* dH, void* dc, void* dw_next);

}  // namespace braid::kernels
