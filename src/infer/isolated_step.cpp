// SPDX-License-Identifier: Apache-2.0
#include "infer/isolated_step.h"

#include "base/until_it_fits.h"
#include "nn/device_memory.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

constexpr const char* not_finite = "the model's logits are NaN or infinite";

// Once the sampler has drawn nothing throws: a drawn token that is lost could not be drawn again.
void run_together(Transformer& model, PagedCache& cache, Sampler& sampler, std::span<const RequestPiece> pieces,
                  std::span<PieceResult> results) {
  std::vector<StepPiece> step;
  std::vector<int64_t> slots;
  for (const RequestPiece& one : pieces) {
    step.push_back(one.piece);
    if (one.piece.wants_logits) slots.push_back(one.slot);
  }
  const at::Tensor logits = run_step(model, cache, step);
  if (slots.empty()) return;
  SampledTokens sampled = sampler.sample(logits, slots);
  auto row = sampled.rows.begin();
  for (size_t p = 0; p < pieces.size(); ++p) {
    if (!pieces[p].piece.wants_logits) continue;
    if (row->id < 0)
      results[p].failure = until_it_fits([] { return StepFailure{RequestOutcome::failed, not_finite}; });
    else
      results[p].token = std::move(*row);
    ++row;
  }
}

void run_apart(Transformer& model, PagedCache& cache, Sampler& sampler, std::span<const RequestPiece> pieces,
               std::span<PieceResult> results) {
  try {
    return run_together(model, cache, sampler, pieces, results);
  } catch (const std::exception& problem) {
    if (pieces.size() == 1) {
      results.front().failure = failure_of(problem);
      return;
    }
  }
  for (size_t p = 0; p < pieces.size(); ++p) {
    run_apart(model, cache, sampler, pieces.subspan(p, 1), results.subspan(p, 1));
  }
}

}  // namespace

StepFailure failure_of(const std::exception& problem) {
  const auto* of_torch = dynamic_cast<const c10::Error*>(&problem);
  const std::string text = of_torch ? of_torch->what_without_backtrace() : problem.what();
  return {is_out_of_memory(problem) ? RequestOutcome::out_of_memory : RequestOutcome::failed,
          text.substr(0, text.find('\n'))};
}

std::vector<PieceResult> run_isolated(Transformer& model, PagedCache& cache, Sampler& sampler,
                                      std::span<const RequestPiece> pieces) {
  std::vector<PieceResult> results(pieces.size());
  run_apart(model, cache, sampler, pieces, results);
  return results;
}

}  // namespace braid
