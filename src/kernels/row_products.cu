// SPDX-License-Identifier: Apache-2.0
#include "kernels/row_products.cuh"
#include "kernels/row_products_cuda.h"

namespace braid::kernels {

namespace {

template <int tokens, class Rows, class T, class Finish>
void launch_pairs(cudaStream_t stream, const Rows& w, int64_t rows, int64_t half, int64_t count, const T* x,
                  const Finish& finish) {
  const int split = warps_of_pair(rows, w.columns, Rows::step), of_block = pair_warps / split;
  const unsigned blocks = unsigned((pairs_of(rows) + of_block - 1) / of_block);
  launch_following<pair_kernel<tokens, Rows, T, Finish>>(dim3(blocks), pair_threads, 0, stream, "a product of few tokens", w, rows,
                                                         half, split, int(count), x, finish);
}

template <class T, class Rows, class Finish>
void multiply_rows(Launch launch, const Rows& w, int64_t rows, int64_t half, int64_t tokens, const T* x, Finish finish) {
  for (int64_t first = 0; first < tokens; first += most_pair_tokens) {
    const int64_t count = tokens - first < most_pair_tokens ? tokens - first : most_pair_tokens;
    const cudaStream_t stream = stream_of(launch);
    if (Rows::step == 1 || count > 4) launch_pairs<8>(stream, w, rows, half, count, x, finish);
    else if (count > 1) launch_pairs<4>(stream, w, rows, half, count, x, finish);
    else launch_pairs<1>(stream, w, rows, half, count, x, finish);
    x += count * w.columns;
    finish.skip(count);
  }
}

Nf4Rows quantised_rows(const DecodeMatrix& weight) {
  if (weight.quantised.size() > most_nf4_parts) {
    throw Error(str("a product of few tokens: ", weight.quantised.size(), " matrices in NF4, at most ", most_nf4_parts));
  }
  Nf4Rows rows = {};
  rows.columns = weight.columns;
  for (size_t part = 0; part < weight.quantised.size(); ++part) {
    const Nf4Matrix& one = weight.quantised[part];
    if (one.columns != weight.columns || one.columns % nf4_block != 0 || !is_aligned(one.packed, 8)) {
      throw Error(str("a product of few tokens: NF4 of ", one.columns, " columns, or codes that are not aligned"));
    }
    rows.parts[part] = one;
  }
  return rows;
}

template <class T, class Finish>
void multiply_as(Launch launch, const RowProduct& p, int64_t half, const Finish& finish) {
  const DecodeMatrix& w = p.weight;
  const T* const x = static_cast<const T*>(p.x);
  if (!w.dense) {
    if (!is_aligned(x, 16)) throw Error("a product of few tokens with NF4: they do not begin at a multiple of 16 bytes");
    return multiply_rows(launch, quantised_rows(w), w.rows, half, p.tokens, x, finish);
  }
  constexpr int wide = 16 / int(sizeof(T));
  const T* const dense = static_cast<const T*>(w.dense);
  if (w.columns % wide == 0 && is_aligned(dense, 16) && is_aligned(x, 16)) {
    return multiply_rows(launch, DenseRows<T, wide>{dense, w.columns}, w.rows, half, p.tokens, x, finish);
  }
  multiply_rows(launch, DenseRows<T, 1>{dense, w.columns}, w.rows, half, p.tokens, x, finish);
}

}  // namespace

void row_product_cuda(Launch launch, const RowProduct& p, const void* bias, void* y) {
  if (p.element == Element::bfloat16) {
    using T = __nv_bfloat16;
    return multiply_as<T>(launch, p, 1, PlainFinish<T>{static_cast<T*>(y), static_cast<const T*>(bias), p.weight.rows});
  }
  multiply_as<float>(launch, p, 1, PlainFinish<float>{static_cast<float*>(y), static_cast<const float*>(bias), p.weight.rows});
}

void gated_product_cuda(Launch launch, const RowProduct& p, void* y) {
  const int64_t half = p.weight.rows / 2;
  if (p.element == Element::bfloat16) {
    return multiply_as<__nv_bfloat16>(launch, p, half, GatedFinish<__nv_bfloat16>{static_cast<__nv_bfloat16*>(y), half});
  }
  multiply_as<float>(launch, p, half, GatedFinish<float>{static_cast<float*>(y), half});
}

void turned_product_cuda(Launch launch, const RowProduct& p, int64_t width, int64_t turned, const float* cosine,
                         const float* sine, void* y) {
  const int64_t rows = p.weight.rows;
  if (p.element == Element::bfloat16) {
    using T = __nv_bfloat16;
    const TurnedFinish<T> finish{static_cast<T*>(y), rows, width, turned * width, cosine, sine};
    return multiply_as<T>(launch, p, width / 2, finish);
  }
  multiply_as<float>(launch, p, width / 2, TurnedFinish<float>{static_cast<float*>(y), rows, width, turned * width, cosine, sine});
}

}  // namespace braid::kernels
