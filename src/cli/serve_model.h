// SPDX-License-Identifier: Apache-2.0
// A loaded model as braid serve offers it.
#pragma once

#include <map>
#include <optional>

#include "cli/serve_options.h"
#include "experiments/gist_asking.h"
#include "infer/kept_past.h"
#include "serve/backend.h"

namespace braid {

// The contexts that --gists names, by the names that requests give them, and how they are asked.
struct ServedGists {
  std::map<std::string, KeptPast> pasts;
  std::optional<GistAsking> asking;  // none without any
};
// UsageError: not a run with gists, a cache that cannot be taken or was made by other weights.
ServedGists served_gists(const ServeRequest& request, AdaptedModel& loaded);

// Its tokenizer, chat template and sampling. What is missing or not built is told on standard error. UsageError: no
// tokenizer, files that cannot be taken.
ServedModelPtr served_model(const ServeRequest& request, const AdaptedModel& loaded, const ServedGists& gists,
                            const World& world);

}  // namespace braid
