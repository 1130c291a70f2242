// SPDX-License-Identifier: Apache-2.0
// Tokens drawn from logits, each row with numbers of its own, as transformers filters them: top-k, then top-p (Holtzman
// et al., arXiv 1904.09751), then min-p (Nguyen et al., arXiv 2407.01082). Chances are whole numbers of a fixed scale,
// so that sums have no order: what a row draws is the same beside any other rows and with any number of threads.
#pragma once

#include <cstdint>

#include "kernels/launch.h"

namespace braid::kernels {

// Doubles all, so that they travel to a device as one matrix [R, 5].
struct TokenDraw {
  double temperature = 0;  // 0: the row keeps its likeliest token
  double top_k = 0;        // tokens no less likely than the k-th, equal ones among them; 0: all
  double top_p = 1;        // of those the likeliest whose chances reach this share, equal ones by id; one at least
  double min_p = 0;        // of those the ones with this part of the likeliest's chance
  double uniform = 0;      // the draw, in [0, 1)
};

constexpr int64_t most_drawn_tokens = int64_t{1} << 21;      // V is at most this
constexpr uint64_t chance_of_likeliest = uint64_t{1} << 41;  // chances below 2^-42 of it are none

// logits [R, V] fp32. ids [R]: the likeliest of each row going in, the drawn one coming out; negative where a row has
// none that is finite, and stays so. chances [R, V] is work space; afterwards, in rows that draw, each token's part of
// the draw, 0 for those that were filtered.
void draw_tokens(Launch, int64_t rows, int64_t vocabulary, const float* logits, const TokenDraw* draws, int64_t* ids,
                 uint64_t* chances);

}  // namespace braid::kernels
