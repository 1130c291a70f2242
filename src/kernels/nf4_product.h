// SPDX-License-Identifier: Apache-2.0
// Matrix products with NF4 weights that are decoded in registers or in the cache: for few tokens, where reading a weight
// costs more than multiplying with it, so that 4 bits of it are an eighth of float32's time. For many tokens a good
// product of dense panels is faster (nn/quantised_weight.h has the borders).
#pragma once

#include "kernels/nf4.h"

namespace braid::kernels {

// y [tokens, rows] = x [tokens, columns] W^T. x and y of float32 or bfloat16; sums in float32. On CPUs a token's sum is the
// same to the bit whatever other tokens are beside it. In bfloat16 CPUs that
// multiply pairs of 16-bit whole numbers (has_word_pairs) round the values that codes stand for to bfloat16, but not their
// absmax, and x to multiples of 2^-15 of the power of two above the largest of its block of 64 columns, where columns is a
// whole number of blocks: that moves nothing but what is below a 128th of it.
void nf4_product(Launch, const Nf4Matrix& w, int64_t tokens, Element, const void* x, void* y);

// Rows `first` to `end` - 1 of W of the same product, by the calling thread alone: a share of what several threads do within
// one parallel region. y is where W's first row goes, `stride` elements further for the next token. columns is a whole number
// of blocks. The bits are those of the whole product.
void nf4_product_part(const Nf4Matrix& w, int64_t tokens, Element, const void* x, void* y, int64_t stride, int64_t first,
                      int64_t end);

// dx [tokens, columns] = dy [tokens, rows] W, likewise.
void nf4_product_transposed(Launch, const Nf4Matrix& w, int64_t tokens, Element, const void* dy, void* dx);

}  // namespace braid::kernels
