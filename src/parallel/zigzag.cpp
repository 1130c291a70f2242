// SPDX-License-Identifier: Apache-2.0
#include "parallel/zigzag.h"

#include "base/error.h"

namespace braid {

std::vector<int64_t> zigzag_chunks(int64_t tokens, ContextPart part) {
  if (part.ranks == 1) return {0};
  const int64_t chunk = tokens / (2 * part.ranks);
  return {part.rank * chunk, (2 * part.ranks - 1 - part.rank) * chunk};
}

std::vector<int64_t> zigzag_positions(int64_t tokens, ContextPart part) {
  const std::vector<int64_t> chunks = zigzag_chunks(tokens * part.ranks, part);
  const int64_t length = tokens / std::ssize(chunks);
  std::vector<int64_t> positions;
  positions.reserve(static_cast<size_t>(tokens));
  for (const int64_t first : chunks) {
    for (int64_t t = 0; t < length; ++t) positions.push_back(first + t);
  }
  return positions;
}

void check_context_cut(int64_t tokens, int64_t ranks) {
  if (ranks == 1 || tokens % (2 * ranks) == 0) return;
  throw UsageError(str("parallel.context: model.context: ", tokens, " tokens cannot be cut into two equal chunks for each of ",
                       ranks, " ranks; expected a multiple of ", 2 * ranks));
}

}  // namespace braid
