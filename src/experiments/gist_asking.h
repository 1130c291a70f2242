// SPDX-License-Identifier: Apache-2.0
// How the contexts of a [gist] run are asked about: what questions become, and where answers end. Whoever answers from
// a cache of gists (experiments/gist_cache.h) asks so.
#pragma once

#include <optional>

#include "experiments/adapted_model.h"
#include "experiments/gist_tasks.h"

namespace braid {

struct GistAsking {
  RunConfig config;
  std::optional<NeedleForm> text;  // none: questions are token ids
  std::vector<int64_t> stop_ids;   // those of the model among them

  // As the run was trained to be asked; plain tokens where it was not trained on texts. UsageError: there is no `text`.
  std::vector<int64_t> question(const std::string& asked) const;
};

// UsageError: not a run with gists.
GistAsking gist_asking_of(const AdaptedModel& loaded);

// Tokens of a text, nothing around them.
std::vector<int64_t> encoded(const NeedleTokens& tokens, const std::string& text);

}  // namespace braid
