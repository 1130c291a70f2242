// SPDX-License-Identifier: Apache-2.0
#include "infer/isolated_step.h"

#include "nn/device_memory.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

std::vector<PieceResult> run_together(Transformer& model, PagedCache& cache, Sampler& sampler,
                                      std::span<const RequestPiece> pieces) {
  std::vector<StepPiece> step;
  std::vector<int64_t> slots;
  for (const RequestPiece& one : pieces) {
    step.push_back(one.piece);
    if (one.piece.wants_logits) slots.push_back(one.slot);
  }
  const at::Tensor logits = run_step(model, cache, step);
  std::vector<PieceResult> results(pieces.size());
  if (slots.empty()) return results;
  SampledTokens sampled = sampler.sample(logits, slots);
  auto row = sampled.rows.begin();
  for (size_t p = 0; p < pieces.size(); ++p) {
    if (!pieces[p].piece.wants_logits) continue;
    if (row->id < 0)
      results[p].failure = StepFailure{RequestOutcome::failed, "the model's logits are NaN or infinite"};
    else
      results[p].token = std::move(*row);
    ++row;
  }
  return results;
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
  try {
    return run_together(model, cache, sampler, pieces);
  } catch (const std::exception& problem) {
    if (pieces.size() == 1) return std::vector<PieceResult>(1, {std::nullopt, failure_of(problem)});
  }
  std::vector<PieceResult> results;
  for (size_t p = 0; p < pieces.size(); ++p) {
    results.push_back(run_isolated(model, cache, sampler, pieces.subspan(p, 1)).front());
  }
  return results;
}

}  // namespace braid
