// SPDX-License-Identifier: Apache-2.0
// Options of the commands that answer with an engine: whether tokens are proposed to it, and by what.
#pragma once

#include <optional>

#include "cli/model_options.h"
#include "infer/speculation.h"

namespace braid {

struct SpeculationRequest {
  SpeculationOptions options;
  std::string draft;  // a model's folder, where the proposer is one
};

// --speculate, --speculate-tokens, --draft.
void add_speculation_options(cxxopts::Options& options);
SpeculationRequest read_speculation(const cxxopts::ParseResult& parsed);  // UsageError

// The draft in the precision, on the device and as quantised as the model it is for; none where none is asked for.
// UsageError: its tokens are others.
std::optional<AdaptedModel> load_draft(const SpeculationRequest& request, const ModelOptions& options,
                                       const AdaptedModel& model, const World& world);

}  // namespace braid
