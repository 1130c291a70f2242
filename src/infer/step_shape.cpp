// SPDX-License-Identifier: Apache-2.0
#include "infer/step_shape.h"

#include <algorithm>

namespace braid {

namespace {

int64_t blocks_for(int64_t tokens, int64_t block_tokens) { return (tokens + block_tokens - 1) / block_tokens; }

// 1, 2, 4, 8, … rows; 256, 1024, 4096, … tokens, the last as many as there may be.
constexpr int64_t first_rows = 1, next_rows = 2, first_tokens = 256, next_tokens = 4;

// Rows times keys: attention keeps parts of all of them, also of those that no text has.
constexpr int64_t most_keys = int64_t{1} << 21;
bool is_small_enough(const StepShape& shape) { return shape.rows * shape.longest <= most_keys; }

int64_t next_size(int64_t wanted, int64_t first, int64_t factor) {
  while (first < wanted) first *= factor;
  return first;
}

StepShape recorded_of(int64_t rows, int64_t tokens, const RecordedLimits& limits) {
  const int64_t longest = std::min(tokens, limits.tokens);
  return {rows, rows, blocks_for(longest, limits.block_tokens), longest, rows, true};
}

}  // namespace

StepShape shape_of(std::span<const StepPiece> pieces, int64_t block_tokens) {
  StepShape shape;
  shape.tables = std::ssize(pieces);
  for (const StepPiece& piece : pieces) {
    const auto tokens = std::ssize(piece.tokens);
    shape.rows += tokens;
    shape.longest = std::max(shape.longest, piece.first + tokens);
    shape.wanted += piece.logits;
  }
  shape.table_width = blocks_for(shape.longest, block_tokens);
  return shape;
}

std::vector<int64_t> step_numbers(std::span<const StepPiece> pieces, const StepShape& shape, int64_t spare_block) {
  std::vector<int64_t> ids, positions, rows, tables, wanted;
  for (const StepPiece& piece : pieces) {
    const int64_t text = std::ssize(tables) / std::max<int64_t>(shape.table_width, 1);
    for (int64_t t = 0; t < std::ssize(piece.tokens); ++t) {
      ids.push_back(piece.tokens[static_cast<size_t>(t)]);
      rows.insert(rows.end(), {text, piece.first + t});
      positions.push_back(piece.first + t + piece.shift);
    }
    for (int64_t back = shape.all_wanted ? 0 : piece.logits; back > 0; --back) wanted.push_back(std::ssize(ids) - back);
    const int64_t own = std::min(shape.table_width, std::ssize(piece.blocks));
    tables.insert(tables.end(), piece.blocks.begin(), piece.blocks.begin() + own);
    tables.resize(static_cast<size_t>((text + 1) * shape.table_width));
  }
  while (std::ssize(ids) < shape.rows) {
    ids.push_back(0), positions.push_back(0);
    rows.insert(rows.end(), {std::ssize(pieces), 0});
  }
  tables.resize(static_cast<size_t>(shape.tables * shape.table_width), spare_block);
  std::vector<int64_t> all;
  all.reserve(static_cast<size_t>(shape.numbers()));
  for (const auto* part : {&ids, &positions, &rows, &tables, &wanted}) all.insert(all.end(), part->begin(), part->end());
  return all;
}

std::optional<StepShape> recorded_shape(std::span<const StepPiece> pieces, const RecordedLimits& limits) {
  const StepShape own = shape_of(pieces, limits.block_tokens);
  if (own.rows == 0 || own.rows > limits.rows || own.wanted != own.rows) return std::nullopt;
  for (const StepPiece& piece : pieces) {
    if (piece.first + std::ssize(piece.tokens) + std::max<int64_t>(piece.shift, 0) > limits.tokens) return std::nullopt;
  }
  const int64_t rows = next_size(own.rows, first_rows, next_rows), tokens = next_size(own.longest, first_tokens, next_tokens);
  const StepShape shape = recorded_of(rows, tokens, limits);
  return is_small_enough(shape) ? std::optional(shape) : std::nullopt;
}

std::vector<StepShape> recorded_shapes(const RecordedLimits& limits) {
  std::vector<StepShape> shapes;
  const int64_t most_rows = next_size(limits.rows, first_rows, next_rows);
  for (int64_t tokens = first_tokens;; tokens *= next_tokens) {
    for (int64_t rows = first_rows; rows <= most_rows; rows *= next_rows) {
      const StepShape shape = recorded_of(rows, tokens, limits);
      if (is_small_enough(shape)) shapes.push_back(shape);
    }
    if (tokens >= limits.tokens) return shapes;
  }
}

}  // namespace braid
