// SPDX-License-Identifier: Apache-2.0
// A step as the numbers that the device is told, in one copy. On GPUs steps of answers are recorded once for each shape and
// replayed (infer/recorded_steps.h): their shapes are few, so rows, keys and block tables are filled up to the next one. Rows
// that fill up are of a text whose only block is nobody's, and what they compute is dropped. No torch in here.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace braid {

struct StepPiece {
  std::span<const int64_t> tokens;  // to be read: at least one
  int64_t first = 0;                // tokens of the same text that are in the cache already
  std::span<const int64_t> blocks;  // its blocks, enough for all of these
  int64_t logits = 0;               // rows of them: those of so many last tokens
  int64_t shift = 0;                // of positions: a token with n before it is at position n + shift
};

struct StepShape {
  int64_t rows = 0;         // R: tokens
  int64_t tables = 0;       // P: of texts
  int64_t table_width = 0;  // blocks of a table
  int64_t longest = 0;      // keys that no row sees more of
  int64_t wanted = 0;       // rows of logits
  bool all_wanted = false;  // those of all rows, which are not named then

  bool operator==(const StepShape&) const = default;
  int64_t named() const { return all_wanted ? 0 : wanted; }
  int64_t numbers() const { return 4 * rows + tables * table_width + named(); }
};

StepShape shape_of(std::span<const StepPiece> pieces, int64_t block_tokens);

// [R] ids, [R] positions, [R, 2] text and tokens before it, [P, table_width] blocks, [named] rows. A shape may be larger than the
// pieces are: the rest is rows of one token of `spare_block`.
std::vector<int64_t> step_numbers(std::span<const StepPiece> pieces, const StepShape& shape, int64_t spare_block);

// What is recorded: steps of up to so many rows, all of whose logits are wanted, over texts of up to so many tokens.
struct RecordedLimits {
  int64_t rows = 0, tokens = 0, block_tokens = 0;
};

// The shape that takes these pieces; nullopt where none does.
std::optional<StepShape> recorded_shape(std::span<const StepPiece> pieces, const RecordedLimits& limits);
std::vector<StepShape> recorded_shapes(const RecordedLimits& limits);

}  // namespace braid
