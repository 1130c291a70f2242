// SPDX-License-Identifier: Apache-2.0
// How a long context is cut for compression: segments of one length that overlap, so that what lies on a border is
// whole in one of them. The last one ends where the context does and is never padded.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace braid {

struct SegmentPlan {
  int64_t length = 0;           // S [tokens]
  std::vector<int64_t> starts;  // of each in the context, rising

  int64_t segments() const { return static_cast<int64_t>(starts.size()); }
};

// Of `tokens` tokens; one segment where they fit in it. UsageError: no tokens, or an overlap of a whole segment.
SegmentPlan plan_segments(int64_t tokens, int64_t segment, int64_t overlap);

// The tokens of G segments with that overlap: what plan_segments cuts into just these.
int64_t tokens_of_segments(int64_t segments, int64_t segment, int64_t overlap);

// ids [B, n] to [G B, S], all texts' first segments before all second ones.
at::Tensor segment_rows(const at::Tensor& ids, const SegmentPlan& plan);

// What was made of those rows, [G B, L, 2, H_kv, k, d], by text: [B, L, 2, H_kv, G k, d].
at::Tensor gists_by_text(const at::Tensor& rows, int64_t texts);

}  // namespace braid
