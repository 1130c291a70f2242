// SPDX-License-Identifier: Apache-2.0
#include "data/example_set.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/philox.h"

namespace braid {

namespace {

// An example of n tokens takes n - 1 places: its last token is only a target.
int64_t places_of(const TokenExample& example) { return static_cast<int64_t>(example.ids.size()) - 1; }

void check(const std::vector<TokenExample>& examples, int64_t vocabulary, int64_t length) {
  if (examples.empty()) throw UsageError("fine-tuning data: expected at least one example, found none");
  for (size_t i = 0; i < examples.size(); ++i) {
    const TokenExample& example = examples[i];
    const auto tokens = static_cast<int64_t>(example.ids.size());
    if (example.answer < 0 || example.answer >= tokens || tokens < 2) {
      throw UsageError(str("example ", i + 1, ": expected two tokens or more, with at least one of an answer"));
    }
    if (tokens > length + 1) {
      throw UsageError(str("example ", i + 1, ": its ", tokens, " tokens are more than the ", length + 1,
                           " that model.context = ", length, " has room for"));
    }
    for (const int32_t id : example.ids) {
      if (id < 0 || id >= vocabulary) throw UsageError(str("example ", i + 1, ": token ", id, " is not below ", vocabulary));
    }
  }
}

std::vector<std::vector<int64_t>> one_each(size_t count) {
  std::vector<std::vector<int64_t>> packs(count);
  for (size_t i = 0; i < count; ++i) packs[i] = {static_cast<int64_t>(i)};
  return packs;
}

std::vector<std::vector<int64_t>> first_fit(const std::vector<TokenExample>& examples, int64_t length) {
  std::vector<int64_t> order(examples.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return places_of(examples[a]) > places_of(examples[b]); });
  std::vector<std::vector<int64_t>> packs;
  std::vector<int64_t> room;
  for (const int64_t example : order) {
    const int64_t places = places_of(examples[example]);
    const auto fits = std::find_if(room.begin(), room.end(), [&](int64_t left) { return left >= places; });
    if (fits == room.end()) {
      packs.push_back({example});
      room.push_back(length - places);
    } else {
      packs[fits - room.begin()].push_back(example);
      *fits -= places;
    }
  }
  return packs;
}

}  // namespace

ExampleSet::ExampleSet(std::vector<TokenExample> examples, int64_t vocabulary, const ExampleSetOptions& options)
    : examples_(std::move(examples)), vocabulary_(vocabulary), options_(options) {
  check(examples_, vocabulary_, options_.length);
  packs_ = options_.packs ? first_fit(examples_, options_.length) : one_each(examples_.size());
}

const std::vector<int64_t>& ExampleSet::pack_of(int64_t index) const {
  const auto size = static_cast<uint64_t>(packs_.size());
  const uint64_t epoch = static_cast<uint64_t>(index) / size, place = static_cast<uint64_t>(index) % size;
  return packs_[options_.shuffles ? permuted_index(place, size, options_.seed, epoch) : place];
}

void ExampleSet::sample(int64_t index, std::span<int64_t> tokens, std::span<int64_t> targets) const {
  std::fill(tokens.begin(), tokens.end(), options_.padding);
  std::fill(targets.begin(), targets.end(), ignored_target);
  size_t at = 0;
  for (const int64_t i : pack_of(index)) {
    const TokenExample& example = examples_[i];
    for (size_t t = 0; t + 1 < example.ids.size(); ++t, ++at) {
      tokens[at] = example.ids[t];
      if (!options_.answers_only || int64_t(t) + 1 >= example.answer) targets[at] = example.ids[t + 1];
    }
  }
}

// Padding is a segment of its own.
void ExampleSet::segments(int64_t index, std::span<int64_t> segments) const {
  size_t at = 0;
  int64_t number = 0;
  for (const int64_t i : pack_of(index)) {
    const auto places = static_cast<size_t>(places_of(examples_[i]));
    std::fill_n(segments.begin() + at, places, number++);
    at += places;
  }
  std::fill(segments.begin() + at, segments.end(), number);
}

}  // namespace braid
