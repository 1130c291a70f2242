// SPDX-License-Identifier: Apache-2.0
// A step whose failures stay with the requests that they belong to, and in which proposed tokens are checked
// (infer/speculation.h).
#pragma once

#include <optional>
#include <string>

#include "infer/engine.h"
#include "infer/sampler.h"
#include "infer/step_ranks.h"

namespace braid {

struct RequestPiece {
  StepPiece piece;
  int64_t slot = 0;      // of the sampler
  int64_t proposed = 0;  // so many last tokens of the piece are proposals, and it wants one row of logits more
};

struct StepFailure {
  RequestOutcome outcome = RequestOutcome::failed;  // or out_of_memory
  std::string message;                              // one line
};

struct PieceResult {
  // Where the piece wanted logits: the next token; another one behind each proposal that is the token before.
  std::vector<SampledToken> tokens;
  std::optional<StepFailure> failure;  // after these tokens
};

// What steps are made with.
struct StepSite {
  Transformer& model;
  PagedCache& cache;
  Sampler& sampler;
  const StepFunction& steps;
};

StepFailure failure_of(const std::exception& problem);

// Runs the pieces together and draws the next tokens. Where that throws, each piece again by itself and without
// proposals, so that the others get theirs and those that fail alone have their failure. Logits that are no numbers are
// a failure of their row.
// bad_alloc: there is no memory for the results; nothing was computed.
std::vector<PieceResult> run_isolated(const StepSite& site, std::span<const RequestPiece> pieces);

}  // namespace braid
