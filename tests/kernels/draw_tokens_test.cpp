// SPDX-License-Identifier: Apache-2.0
// Drawing against a reference that sorts; the CUDA twin by the same body.
#include "kernels/draw_tokens.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "support.h"

namespace braid::kernels {
namespace {

using namespace test;

using Logits = std::vector<float>;
using Chances = std::vector<uint64_t>;

struct Drawn {
  std::vector<int64_t> ids;
  Chances chances;
};

int64_t likeliest(const Logits& logits, int64_t row, int64_t vocabulary) {
  const auto first = logits.begin() + row * vocabulary;
  return std::max_element(first, first + vocabulary) - first;
}

Drawn draw(Place place, const Logits& logits, const std::vector<TokenDraw>& draws) {
  const auto rows = int64_t(draws.size()), vocabulary = int64_t(logits.size()) / rows;
  std::vector<int64_t> ids;
  for (int64_t r = 0; r < rows; ++r) ids.push_back(likeliest(logits, r, vocabulary));
  Placed in(place, logits);
  Placed numbers(place, draws);
  Placed out(place, ids);
  Placed chances(place, Chances(logits.size()));
  draw_tokens({place}, rows, vocabulary, in.data(), numbers.data(), out.data(), chances.data());
  return {out.values(), chances.values()};
}

// Sorted by logit, equal ones by id; which are kept.
std::vector<bool> kept_by_sorting(const Logits& logits, const TokenDraw& draw) {
  const auto size = int64_t(logits.size());
  std::vector<int64_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return logits[a] > logits[b]; });
  std::vector<bool> kept(logits.size(), true);
  Numbers chances;
  for (const float logit : logits) chances.push_back(std::exp((double(logit) - logits[order[0]]) / draw.temperature));
  const auto cut = [&](int64_t id) { kept[id] = false, chances[id] = 0; };
  if (draw.top_k > 0 && draw.top_k < double(size)) {
    for (int64_t i = 0; i < size; ++i) {
      if (logits[i] < logits[order[int64_t(draw.top_k) - 1]]) cut(i);
    }
  }
  const double total = std::accumulate(chances.begin(), chances.end(), 0.0);
  double before = 0;
  for (int64_t n = 0; n < size && draw.top_p < 1; ++n) {
    const double own = chances[order[n]];
    if (n > 0 && before >= draw.top_p * total) cut(order[n]);
    before += own;
  }
  for (int64_t i = 0; i < size; ++i) {
    if (chances[i] < draw.min_p || chances[i] < 0x1p-42) cut(i);
  }
  return kept;
}

TokenDraw any_draw(Random& random) {
  TokenDraw draw{0.3 + 0.1 * double(random.below(20)), 0, 1, 0, double(random.below(1000)) / 1000};
  if (random.below(2)) draw.top_k = double(1 + random.below(60));
  if (random.below(2)) draw.top_p = double(random.below(1000)) / 1000;
  if (random.below(3) == 0) draw.min_p = double(random.below(1000)) / 1000;
  return draw;
}

// Logits of which many are equal, some are infinitely unlikely and both zeros occur.
Logits any_logits(Random& random, int64_t count) {
  Logits logits;
  for (const double x : random.normal(count, 2.0)) {
    const int64_t kind = random.below(20);
    const double rounded = std::round(2 * x) / 2;
    logits.push_back(kind == 0 ? -std::numeric_limits<float>::infinity() : float(kind < 10 ? rounded : x));
  }
  return logits;
}

void expect_kept(Place place) {
  Random random;
  constexpr int64_t rows = 300, vocabulary = 41;
  const Logits logits = any_logits(random, rows * vocabulary);
  std::vector<TokenDraw> draws;
  for (int64_t r = 0; r < rows; ++r) draws.push_back(any_draw(random));
  const Drawn found = draw(place, logits, draws);
  for (int64_t r = 0; r < rows; ++r) {
    const std::vector<bool> kept =
        kept_by_sorting({logits.begin() + r * vocabulary, logits.begin() + (r + 1) * vocabulary}, draws[r]);
    uint64_t total = 0, before = 0;
    for (int64_t i = 0; i < vocabulary; ++i) {
      const uint64_t chance = found.chances[r * vocabulary + i];
      EXPECT_EQ(chance > 0, kept[i]) << "row " << r << ", token " << i;
      total += chance;
      before += i < found.ids[r] ? chance : 0;
    }
    const auto wanted = uint64_t(draws[r].uniform * double(total));
    EXPECT_LE(before, wanted);
    EXPECT_GT(before + found.chances[r * vocabulary + found.ids[r]], wanted);
  }
}

TEST(DrawTokens, KeepsAndDrawsWhatSortingSays) { expect_kept(Place::cpu); }

TEST(DrawTokens, ARowIsTheSameBesideOthers) {
  Random random;
  constexpr int64_t rows = 20, vocabulary = 1500;
  const Logits logits = any_logits(random, rows * vocabulary);
  std::vector<TokenDraw> draws;
  for (int64_t r = 0; r < rows; ++r) draws.push_back(any_draw(random));
  const Drawn together = draw(Place::cpu, logits, draws);
  for (int64_t r = 0; r < rows; ++r) {
    const Drawn alone =
        draw(Place::cpu, {logits.begin() + r * vocabulary, logits.begin() + (r + 1) * vocabulary}, {draws[r]});
    EXPECT_EQ(alone.ids[0], together.ids[r]);
  }
}

TEST(DrawTokens, RowsWithoutTemperatureAndRowsWithoutAFiniteTokenStayAsTheyAre) {
  std::vector<int64_t> ids = {2, -1};
  const Logits logits = {0, 1, 0, 0, 1, NAN};
  Chances chances(6);
  const std::vector<TokenDraw> draws = {{0, 1, 0.5, 0, 0.3}, {1, 0, 1, 0, 0.3}};
  draw_tokens({}, 2, 3, logits.data(), draws.data(), ids.data(), chances.data());
  EXPECT_EQ(ids, (std::vector<int64_t>{2, -1}));
}

TEST(DrawTokens, ALowTemperatureIsTheLikeliest) {
  const Drawn found = draw(Place::cpu, {1e30f, -1e30f, 3e30f, 2.9e30f}, {{1e-30, 0, 1, 0, 0.999}});
  EXPECT_EQ(found.ids[0], 2);
}

TEST(DrawTokensGpu, KeepsAndDrawsWhatSortingSays) {
  REQUIRE_DEVICE();
  expect_kept(Place::cuda);
}

TEST(DrawTokensGpu, DrawsAsCpus) {
  REQUIRE_DEVICE();
  Random random;
  constexpr int64_t rows = 16, vocabulary = 32000;
  const Logits logits = any_logits(random, rows * vocabulary);
  std::vector<TokenDraw> draws;
  for (int64_t r = 0; r < rows; ++r) draws.push_back(any_draw(random));
  EXPECT_EQ(draw(Place::cuda, logits, draws).ids, draw(Place::cpu, logits, draws).ids);
}

}  // namespace
}  // namespace braid::kernels
