// SPDX-License-Identifier: Apache-2.0
#include "kernels/draw_tokens.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "base/error.h"
#include "kernels/draw_tokens_cuda.h"

namespace braid::kernels {

namespace {

// A whole number that orders as the logit does; both zeros are one.
uint32_t key_of(float logit) {
  const auto bits = std::bit_cast<uint32_t>(logit + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

struct Row {
  int64_t vocabulary;
  const float* logits;
  uint64_t* chances;

  uint64_t total() const {
    uint64_t sum = 0;
    for (int64_t i = 0; i < vocabulary; ++i) sum += chances[i];
    return sum;
  }
};

void weigh(const Row& row, float top, double temperature) {
  for (int64_t i = 0; i < row.vocabulary; ++i) {
    const double below = (double(row.logits[i]) - double(top)) / temperature;
    row.chances[i] = below < -30 ? 0 : uint64_t(std::exp(below) * double(chance_of_likeliest) + 0.5);
  }
}

struct Threshold {
  uint32_t key;     // of the last token that is needed
  uint64_t before;  // what the more likely ones amount to
};

// The tokens from the likeliest down whose amounts reach `limit`: found byte by byte of their keys, without sorting.
template <class Amount>
Threshold reach(const Row& row, uint64_t limit, const Amount& amount) {
  Threshold found{0, 0};
  for (int shift = 24; shift >= 0; shift -= 8) {
    const uint32_t known = shift == 24 ? 0 : ~uint32_t{0} << (shift + 8);
    std::array<uint64_t, 256> sums{};
    for (int64_t i = 0; i < row.vocabulary; ++i) {
      const uint32_t key = key_of(row.logits[i]);
      if (((key ^ found.key) & known) == 0) sums[key >> shift & 255] += amount(i);
    }
    uint32_t byte = 255;
    for (; byte > 0 && found.before + sums[byte] < limit; --byte) found.before += sums[byte];
    found.key |= byte << shift;
  }
  return found;
}

void keep_top_k(const Row& row, double k) {
  if (k <= 0 || k >= double(row.vocabulary)) return;
  const Threshold last = reach(row, uint64_t(k), [](int64_t) { return uint64_t{1}; });
  for (int64_t i = 0; i < row.vocabulary; ++i) {
    if (key_of(row.logits[i]) < last.key) row.chances[i] = 0;
  }
}

void keep_top_p(const Row& row, double p) {
  if (p >= 1) return;
  const auto limit = std::max<uint64_t>(uint64_t(std::ceil(p * double(row.total()))), 1);
  const Threshold last = reach(row, limit, [&](int64_t i) { return row.chances[i]; });
  uint64_t sum = last.before;
  for (int64_t i = 0; i < row.vocabulary; ++i) {
    const uint32_t key = key_of(row.logits[i]);
    if (key > last.key) continue;
    if (key < last.key || sum >= limit) row.chances[i] = 0;
    sum += row.chances[i];
  }
}

void keep_min_p(const Row& row, double p) {
  const auto least = uint64_t(std::ceil(p * double(chance_of_likeliest)));
  for (int64_t i = 0; i < row.vocabulary; ++i) {
    if (row.chances[i] < least) row.chances[i] = 0;
  }
}

int64_t drawn(const Row& row, double uniform) {
  const uint64_t total = row.total();
  uint64_t left = std::min(uint64_t(uniform * double(total)), total - 1);
  int64_t i = 0;
  for (; row.chances[i] <= left; ++i) left -= row.chances[i];
  return i;
}

}  // namespace

void draw_tokens(Launch launch, int64_t rows, int64_t vocabulary, const float* logits, const TokenDraw* draws,
                 int64_t* ids, uint64_t* chances) {
  if (vocabulary > most_drawn_tokens)
    throw Error(str("drawing among ", vocabulary, " tokens, of ", most_drawn_tokens, " at most"));
  if (launch.place == Place::cuda) return draw_tokens_cuda(launch, rows, vocabulary, logits, draws, ids, chances);
#pragma omp parallel for schedule(dynamic)
  for (int64_t r = 0; r < rows; ++r) {
    if (draws[r].temperature <= 0 || ids[r] < 0) continue;
    const Row row{vocabulary, logits + r * vocabulary, chances + r * vocabulary};
    weigh(row, row.logits[ids[r]], draws[r].temperature);
    keep_top_k(row, draws[r].top_k);
    keep_top_p(row, draws[r].top_p);
    keep_min_p(row, draws[r].min_p);
    ids[r] = drawn(row, draws[r].uniform);
  }
}

}  // namespace braid::kernels
