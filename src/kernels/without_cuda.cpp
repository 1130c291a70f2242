// SPDX-License-Identifier: Apache-2.0
// What the CUDA twins are in a build without CUDA.
#if !BRAID_CUDA
#include "base/error.h"
#include "kernels/adamw8bit_cuda.h"
#include "kernels/add_norm_cuda.h"
#include "kernels/connection_cuda.h"
#include "kernels/cross_entropy_cuda.h"
#include "kernels/decode_step_cuda.h"
#include "kernels/draw_tokens_cuda.h"
#include "kernels/dropout_cuda.h"
#include "kernels/gelu_cuda.h"
#include "kernels/nf4_cuda.h"
#include "kernels/nf4_product_cuda.h"
#include "kernels/paged_attention_cuda.h"
#include "kernels/row_products_cuda.h"
#include "kernels/sinkhorn_cuda.h"
#include "kernels/stream_mix_cuda.h"

namespace braid::kernels {

namespace {
[[noreturn]] void missing() { throw Error("this braid was built without CUDA (BRAID_CUDA=OFF)"); }
}  // namespace

void stream_read_cuda(Launch, StreamShape, Element, const void*, const void*, void*) { missing(); }
void stream_read_backward_cuda(Launch, StreamShape, Element, const void*, const void*, const void*, void*, bool,
                               void*) {
  missing();
}
void stream_write_read_cuda(Launch, StreamShape, Element, const void*, const void*, const void*, const void*,
                            const void*, void*, void*) {
  missing();
}
void stream_write_read_backward_cuda(Launch, StreamShape, Element, const void*, const void*, const void*, const void*,
                                     const void*, const void*, const void*, const void*, void*, void*, void*, void*,
                                     void*) {
  missing();
}
void add_norm_cuda(Launch, NormShape, Element, const void*, const void*, const void*, const void*, void*, void*, void*,
                   void*) {
  missing();
}
void add_norm_backward_cuda(Launch, NormShape, Element, const void*, const void*, const void*, const void*, const void*,
                            const void*, void*, void*, void*, void*) {
  missing();
}
int64_t connection_scratch_bytes_cuda(const ConnectionShape&, Element) { missing(); }
void connection_cuda(Launch, const ConnectionShape&, Element, const ConnectionWrite&, const ConnectionWeights&,
                     const ConnectionOutputs&, void*) {
  missing();
}
void connection_backward_cuda(Launch, const ConnectionShape&, Element, const ConnectionWrite&, const ConnectionWeights&,
                              const ConnectionSaved&, const ConnectionOutputGradients&, const ConnectionInputGradients&,
                              void*) {
  missing();
}
void adamw8bit_cuda(Launch, const AdamWFactors&, int64_t, float*, const float*, Moments8bit) { missing(); }
void cross_entropy_cuda(Launch, Element, int64_t, int64_t, const void*, const int64_t*, double, LossSums*, void*) {
  missing();
}
void decode_step_cuda(Launch, Element, const DecodeShape&, const std::vector<DecodeLayer>&, const float*, const float*,
                      const DecodeAttention&, float*, void*) {
  missing();
}
int64_t decode_scratch_bytes_cuda(Element, const DecodeShape&) { missing(); }
void draw_tokens_cuda(Launch, int64_t, int64_t, const float*, const TokenDraw*, int64_t*, uint64_t*) { missing(); }
void dropout_cuda(Launch, int64_t, Element, DropoutKey, uint64_t, const void*, void*) { missing(); }
void gelu_cuda(Launch, int64_t, Element, const void*, void*, void*) { missing(); }
void gelu_backward_cuda(Launch, int64_t, Element, const void*, const void*, void*) { missing(); }
void nf4_quantise_cuda(Launch, int64_t, Element, const void*, uint8_t*, float*) { missing(); }
void nf4_nest_cuda(Launch, int64_t, const float*, float, uint8_t*, float*) { missing(); }
void nf4_dequantise_cuda(Launch, const Nf4Matrix&, Rectangle, Element, void*) { missing(); }
void nf4_product_cuda(Launch, const Nf4Matrix&, int64_t, Element, const void*, void*) { missing(); }
void nf4_product_transposed_cuda(Launch, const Nf4Matrix&, int64_t, Element, const void*, void*) { missing(); }
void store_paged_cuda(Launch, const PagedShape&, Element, const PagedInputs&, void*, void*) { missing(); }
void paged_attention_cuda(Launch, const PagedShape&, Element, const PagedInputs&, const void*, const void*, void*,
                          void*) {
  missing();
}
int64_t paged_scratch_bytes_cuda(const PagedShape&, Element) { missing(); }
void row_product_cuda(Launch, const RowProduct&, const void*, void*) { missing(); }
void gated_product_cuda(Launch, const RowProduct&, void*) { missing(); }
void turned_product_cuda(Launch, const RowProduct&, int64_t, int64_t, const float*, const float*, void*) { missing(); }
void sinkhorn_cuda(Launch, SinkhornShape, Element, const void*, void*) { missing(); }
void sinkhorn_backward_cuda(Launch, SinkhornShape, Element, const void*, const void*, void*) { missing(); }

}  // namespace braid::kernels
#endif
