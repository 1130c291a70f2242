// SPDX-License-Identifier: Apache-2.0
#include "train/token_share.h"

#include <algorithm>

namespace braid {

ContextPart context_part(const Mesh& mesh) { return {mesh.place().context, mesh.shape().context}; }

Batch own_tokens(Batch batch, ContextPart part) {
  if (part.ranks == 1) return batch;
  const int64_t length = batch.length / part.ranks;
  const std::vector<int64_t> places = zigzag_positions(length, part);
  const std::vector<int64_t> in_segments = positions_in_segments(batch.segments, batch.length);
  Batch own{batch.samples, length, {}, {}, {}, 0};
  for (int64_t sample = 0; sample < batch.samples; ++sample) {
    for (const int64_t place : places) {
      const auto i = static_cast<size_t>(sample * batch.length + place);
      own.tokens.push_back(batch.tokens[i]);
      own.targets.push_back(batch.targets[i]);
      if (!in_segments.empty()) own.segments.push_back(place - in_segments[i]);
    }
  }
  own.target_count = std::ssize(own.targets) - std::count(own.targets.begin(), own.targets.end(), ignored_target);
  return own;
}

DropoutPosition dropout_position(int64_t step, int64_t first, int64_t samples, int64_t length, ContextPart part) {
  const int64_t whole = length * part.ranks;
  DropoutPosition position{static_cast<uint32_t>(step), static_cast<uint64_t>(first * whole)};
  if (part.ranks == 1) return position;
  for (int64_t sample = 0; sample < samples; ++sample) {
    for (const int64_t chunk : zigzag_chunks(whole, part)) position.runs.push_back(static_cast<uint64_t>(sample * whole + chunk));
  }
  return position;
}

}  // namespace braid
