// SPDX-License-Identifier: Apache-2.0
// Other ways to read no more than the gists of a context are, or hardly more, from the same model:
//   pooled  keys and values of each segment's raw tokens, averaged to as many positions as it has gists
//   snapkv  the raw keys and values that the question looks at most, in each layer and head as many as there are gists;
//           everything has to be stored, since the question is not known before (Li et al., arXiv 2404.14469)
//   bm25    the stretch of as many raw tokens as there are gists that shares most with the question (Robertson, BM25);
//           where none shares a token with it nothing is read, since there is nothing to choose by
//   window  a stretch of as many raw tokens as there are gists, anywhere
//   hybrid  gists choose the segments that the question looks at most, whose raw tokens are read instead: gists and raw
//           text are stored, gists and those segments read
// All but the gists' own reading is of raw tokens: a model that was trained on gists alone has never read any before a
// question, and its answers from them say so.
#pragma once

#include "experiments/gist_system.h"

namespace braid {

// The model and the set must outlive them.
std::vector<GistSystem> reading_systems(const SystemNeeds& needs);

// Starts of stretches of `tokens` tokens, half of one apart and the last at the context's end.
std::vector<int64_t> stretches(int64_t context, int64_t tokens);

// Index of the stretch that BM25 (k1 = 1.2; all are as long as each other) ranks first for the question's tokens, the
// earliest of equals; -1 where none has any of them.
int64_t best_stretch(const std::vector<int64_t>& context, const std::vector<int64_t>& starts, int64_t tokens,
                     const std::vector<int64_t>& question);

}  // namespace braid
