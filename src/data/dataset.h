// SPDX-License-Identifier: Apache-2.0
// A dataset answers one question: what is sample i? Sample i of the training stream is a pure function of (seed, i), so
// that any rank, any world size and any restart sees the same stream from one integer.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace braid {

constexpr int64_t ignored_target = -100;  // this position carries no loss

class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual int64_t vocabulary() const = 0;  // token ids are in [0, vocabulary)
  virtual int64_t length() const = 0;      // T, tokens of one sample
  // Number of distinct samples of one epoch, or -1 when the stream never repeats.
  virtual int64_t epoch_size() const = 0;
  // tokens [T] and targets [T] of global sample `index` >= 0 (targets may hold ignored_target). Epochs follow on.
  virtual void sample(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const = 0;
  // Whether a sample holds several documents that do not see each other, as segments() says: [T], a number for each
  // token, the same within a document and rising from one to the next.
  virtual bool packed() const { return false; }
  virtual void segments(int64_t index, std::span<int64_t> segments) const {}
};

// Samples [first, first + count) as one block.
struct Batch {
  int64_t samples = 0, length = 0;
  std::vector<int64_t> tokens, targets;  // [samples, length]
  std::vector<int64_t> segments;         // [samples, length] of a packed dataset, else empty
  int64_t target_count = 0;              // targets that carry loss
};
Batch gather(const Dataset& dataset, int64_t first, int64_t count);

struct Slice {
  int64_t first = 0, count = 0;
};
Batch gather(const Dataset& dataset, std::span<const Slice> slices);  // one block of all, in this order

// Positions that begin anew with each segment, [samples, length] as `segments` is.
std::vector<int64_t> positions_in_segments(const std::vector<int64_t>& segments, int64_t length);

// The slice of a global batch that belongs to one rank: contiguous, sizes differ by at most one, earlier ranks larger.
Slice slice_of(int64_t batch, int rank, int ranks);

}  // namespace braid
