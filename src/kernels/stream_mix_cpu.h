// SPDX-License-Identifier: Apache-2.0
// The CPU kernels of stream_mix.h, one set per instruction set.
#pragma once

#include "kernels/stream_mix.h"

namespace braid::kernels {

struct StreamMixTable {
  void (*read)(StreamShape, Element, const void* X, const void* w, void* m);
  void (*read_backward)(StreamShape, Element, const void* X, const void* w, const void* dm, void* dX, bool accumulate_dX,
                        void* dw);
  void (*write_read)(StreamShape, Element, const void* X, const void* H, const void* c, const void* f, const void* w_next,
                     void* X_out, void* m_next);
  void (*write_read_backward)(StreamShape, Element, const void* X, const void* H, const void* c, const void* f,
                              const void* w_next, const void* X_out, const void* dX_out, const void* dm_next, void* dX,
                              void* df, void* dH, void* dc, void* dw_next);
};

namespace level_base { extern const StreamMixTable stream_mix; }
namespace level_avx2 { extern const StreamMixTable stream_mix; }
namespace level_avx512 { extern const StreamMixTable stream_mix; }

}  // namespace braid::kernels
