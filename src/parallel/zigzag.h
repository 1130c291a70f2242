// SPDX-License-Identifier: Apache-2.0
// How ranks share the tokens of a sample under a causal mask: cut into two chunks a rank, of which rank r has chunk r from
// the front and chunk r from the back, so that all see as many pairs of tokens. Both chunks are in order, so a rank's own
// tokens see each other as any sample's do. Known from ring attention's public code as zigzag.
#pragma once

#include <cstdint>
#include <vector>

namespace braid {

struct ContextPart {
  int64_t rank = 0, ranks = 1;
};

// Where a rank's two chunks of a sample begin that has `tokens` tokens, a multiple of 2 ranks; {0} for one rank, which has
// all of it.
std::vector<int64_t> zigzag_chunks(int64_t tokens, ContextPart part);

// The places in the sample of the rank's tokens, in their order; `tokens` is how many these are.
std::vector<int64_t> zigzag_positions(int64_t tokens, ContextPart part);

// UsageError: samples of so many tokens cannot be shared evenly.
void check_context_cut(int64_t tokens, int64_t ranks);

}  // namespace braid
