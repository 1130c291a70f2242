// SPDX-License-Identifier: Apache-2.0
#include "nn/gist_segments.h"

#include "base/error.h"
#include "nn/precompiled.h"

namespace braid {

SegmentPlan plan_segments(int64_t tokens, int64_t segment, int64_t overlap) {
  if (tokens < 1) throw UsageError("expected a context to compress, found no tokens");
  if (tokens <= segment) return {tokens, {0}};
  if (overlap < 0 || overlap >= segment) {
    throw UsageError(str("segments of ", segment, " tokens cannot overlap by ", overlap));
  }
  SegmentPlan plan{segment, {}};
  for (int64_t start = 0; start + segment < tokens; start += segment - overlap) plan.starts.push_back(start);
  plan.starts.push_back(tokens - segment);
  return plan;
}

int64_t tokens_of_segments(int64_t segments, int64_t segment, int64_t overlap) {
  return segment + (segments - 1) * (segment - overlap);
}

at::Tensor segment_rows(const at::Tensor& ids, const SegmentPlan& plan) {
  std::vector<at::Tensor> rows;
  for (const int64_t start : plan.starts) rows.push_back(ids.narrow(1, start, plan.length));
  return at::cat(rows, 0);
}

at::Tensor gists_by_text(const at::Tensor& rows, int64_t texts) {
  const auto s = rows.sizes();
  const int64_t segments = s[0] / texts;
  const at::Tensor apart = rows.view({segments, texts, s[1], s[2], s[3], s[4], s[5]});
  return apart.permute({1, 2, 3, 4, 0, 5, 6}).reshape({texts, s[1], s[2], s[3], segments * s[4], s[5]});
}

}  // namespace braid
