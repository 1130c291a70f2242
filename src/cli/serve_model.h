// SPDX-License-Identifier: Apache-2.0
// A loaded model as braid serve offers it.
#pragma once

#include "cli/serve_options.h"
#include "serve/backend.h"

namespace braid {

// Its tokenizer, chat template and sampling. What is missing or not built is told on standard error. UsageError: no
// tokenizer, files that cannot be taken.
ServedModelPtr served_model(const ServeRequest& request, const AdaptedModel& loaded, const World& world);

}  // namespace braid
