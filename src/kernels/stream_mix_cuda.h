// SPDX-License-Identifier: Apache-2.0
// The CUDA twins of stream_mix.h; a build without CUDA has them throw.
#pragma once

#include "kernels/stream_mix.h"

namespace braid::kernels {

void stream_read_cuda(Launch, StreamShape, Element, const void* X, const void* w, void* m);
void stream_read_backward_cuda(Launch, StreamShape, Element, const void* X, const void* w, const void* dm, void* dX,
                               bool accumulate_dX, void* dw);
void stream_write_read_cuda(Launch, StreamShape, Element, const void* X, const void* H, const void* c, const void* f,
                            const void* w_next, void* X_out, void* m_next);
void stream_write_read_backward_cuda(Launch, StreamShape, Element, const void* X, const void* H, const void* c,
                                     const void* f, const void* w_next, const void* X_out, const void* dX_out,
                                     const void* dm_next, void* dX, void* df, void* dH, void* dc, void* dw_next);

}  // namespace braid::kernels
