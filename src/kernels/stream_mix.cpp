// SPDX-License-Identifier: Apache-2.0
#include "kernels/stream_mix.h"

#include "base/error.h"
#include "kernels/cpu_level.h"
#include "kernels/stream_mix_cpu.h"
#include "kernels/stream_mix_cuda.h"

namespace braid::kernels {

namespace {

const StreamMixTable& cpu(Element element) {
  if (element == Element::float64) return level_base::stream_mix;  // the only level that has it
  switch (chosen_cpu_level()) {
    case CpuLevel::avx512: return level_avx512::stream_mix;
    case CpuLevel::avx2: return level_avx2::stream_mix;
    default: return level_base::stream_mix;
  }
}

void check(StreamShape shape) {
  if (shape.streams < 1 || shape.streams > 8)
    throw Error(str("residual streams: expected 1 to 8, got ", shape.streams));
}

}  // namespace

void stream_read(Launch launch, StreamShape shape, Element element, const void* X, const void* w, void* m) {
  check(shape);
  if (launch.place == Place::cuda) return stream_read_cuda(launch, shape, element, X, w, m);
  cpu(element).read(shape, element, X, w, m);
}

void stream_read_backward(Launch launch, StreamShape shape, Element element, const void* X, const void* w,
                          const void* dm, void* dX, bool accumulate_dX, void* dw) {
  check(shape);
  if (launch.place == Place::cuda) {
    return stream_read_backward_cuda(launch, shape, element, X, w, dm, dX, accumulate_dX, dw);
  }
  cpu(element).read_backward(shape, element, X, w, dm, dX, accumulate_dX, dw);
}

void stream_write_read(Launch launch, StreamShape shape, Element element, const void* X, const void* H, const void* c,
                       const void* f, const void* w_next, void* X_out, void* m_next) {
  check(shape);
  if (launch.place == Place::cuda) {
    return stream_write_read_cuda(launch, shape, element, X, H, c, f, w_next, X_out, m_next);
  }
  cpu(element).write_read(shape, element, X, H, c, f, w_next, X_out, m_next);
}

void stream_write_read_backward(Launch launch, StreamShape shape, Element element, const void* X, const void* H,
                                const void* c, const void* f, const void* w_next, const void* X_out, const void* dX_out,
                                const void* dm_next, void* dX, void* df, void* dH, void* dc, void* dw_next) {
  check(shape);
  if (launch.place == Place::cuda) {
    return stream_write_read_backward_cuda(launch, shape, element, X, H, c, f, w_next, X_out, dX_out, dm_next, dX, df,
                                           dH, dc, dw_next);
  }
  cpu(element).write_read_backward(shape, element, X, H, c, f, w_next, X_out, dX_out, dm_next, dX, df, dH, dc, dw_next);
}

}  // namespace braid::kernels
