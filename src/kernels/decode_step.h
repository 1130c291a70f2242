// SPDX-License-Identifier: Apache-2.0
// All layers of a Llama for a handful of new tokens, on CPUs in one parallel region, on GPUs in a few kernels a layer. Between
// two products of a decode step lies next to nothing to compute, but a region for each, and a tensor for each result, cost as
// much as reading a matrix of NF4 (docs/results.md); so does the start of a kernel.
//   h = x + attention(rms(x)) Wo,  x' = h + (silu(rms(h) Wg) * (rms(h) Wu)) Wd
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/launch.h"
#include "kernels/nf4.h"

namespace braid::kernels {

// Up to so many it is faster than layers that go one by one, where W is dense, in NF4, and dense in what tiles suit
// (skinny_product.h; docs/results.md).
constexpr int64_t most_decode_rows = 8, most_decode_rows_nf4 = 16, most_decode_rows_tiled = 32;

// A low-rank term of some rows of a product, B (scale A x), as LoRA has it: A [rank, columns], B [rows, rank].
struct DecodeTerm {
  int64_t first_row, rows, rank;
  const void *a, *b;
  float scale;
};

// [rows, columns] of the step's element, or matrices in NF4 one below the other, of whole blocks a row; and terms that are added.
struct DecodeMatrix {
  int64_t rows = 0, columns = 0;
  const void* dense = nullptr;
  std::vector<Nf4Matrix> quantised;
  std::vector<DecodeTerm> terms;
};

struct DecodeLayer {
  const float *norm1, *norm2;              // [D]
  DecodeMatrix qkv, out, gate_and_up, down;  // [(H + 2 H_kv) d, D], [D, H d], [2 F, D], [D, F]
};

struct DecodeShape {
  int64_t rows;  // R
  int64_t width, heads, key_value_heads, head_width, mlp_width;
  double epsilon;
};

// A thread, of so many in the region.
struct DecodeThread {
  int64_t index, count;
};

// Attention of a layer, packed [R, H + 2 H_kv, d], turned, to out [R, H, d], called by every thread of the region. The first
// stores keys and values; every thread has returned from it before one calls the second. On GPUs one thread calls both, which
// queue their work behind what is queued on the launch's stream.
struct DecodeAttention {
  std::function<void(int64_t layer, const void* packed, DecodeThread)> store;  // may be empty
  std::function<void(int64_t layer, const void* packed, void* out, DecodeThread)> attend;
};

// x [R, D], in float32, becomes what the last layer puts out. cosine and sine [R, d]. `scratch` has decode_scratch_bytes bytes
// where the kernels run. Error: float64; on GPUs more than three matrices in one. A row's bits do not depend on other rows.
void decode_step(Launch, Element, const DecodeShape& shape, const std::vector<DecodeLayer>& layers, const float* cosine,
                 const float* sine, const DecodeAttention& attention, float* x, void* scratch);
int64_t decode_scratch_bytes(Launch, Element, const DecodeShape& shape);

}  // namespace braid::kernels
