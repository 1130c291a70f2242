// SPDX-License-Identifier: Apache-2.0
#include "infer/isolated_step.h"

#include "nn/device_memory.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

// A piece whose next token is to be drawn, from this row of the logits.
struct Drawing {
  size_t piece;
  int64_t row;
};

std::vector<Drawing> first_drawings(std::span<const RequestPiece> pieces) {
  std::vector<Drawing> all;
  int64_t row = 0;
  for (size_t p = 0; p < pieces.size(); ++p) {
    if (pieces[p].piece.logits > 0) all.push_back({p, row});
    row += pieces[p].piece.logits;
  }
  return all;
}

at::Tensor rows_of(const at::Tensor& logits, const std::vector<Drawing>& drawings) {
  if (logits.size(0) == static_cast<int64_t>(drawings.size())) return logits;
  std::vector<int64_t> rows;
  for (const Drawing& one : drawings) rows.push_back(one.row);
  return logits.index_select(0, at::tensor(at::ArrayRef<int64_t>(rows), at::kLong).to(logits.device()));
}

// A token of each drawing; those that go on, since the token is what was proposed.
std::vector<Drawing> draw(const at::Tensor& logits, Sampler& sampler, std::span<const RequestPiece> pieces,
                          const std::vector<Drawing>& drawings, std::vector<PieceResult>& results) {
  std::vector<int64_t> slots;
  for (const Drawing& one : drawings) slots.push_back(pieces[one.piece].slot);
  SampledTokens sampled = sampler.sample(rows_of(logits, drawings), slots);
  std::vector<Drawing> next;
  for (size_t r = 0; r < drawings.size(); ++r) {
    const RequestPiece& request = pieces[drawings[r].piece];
    PieceResult& result = results[drawings[r].piece];
    const int64_t id = sampled.rows[r].id;
    if (id < 0) {
      result.failure = StepFailure{RequestOutcome::failed, "the model's logits are NaN or infinite"};
      continue;
    }
    const auto proposals = request.piece.tokens.last(static_cast<size_t>(request.proposed));
    const size_t drawn = result.tokens.size();
    if (drawn < proposals.size() && proposals[drawn] == id) next.push_back({drawings[r].piece, drawings[r].row + 1});
    result.tokens.push_back(std::move(sampled.rows[r]));
  }
  return next;
}

std::vector<PieceResult> run_together(Transformer& model, PagedCache& cache, Sampler& sampler,
                                      std::span<const RequestPiece> pieces) {
  std::vector<StepPiece> step;
  for (const RequestPiece& one : pieces) step.push_back(one.piece);
  const at::Tensor logits = run_step(model, cache, step);
  std::vector<PieceResult> results(pieces.size());
  std::vector<Drawing> drawings = first_drawings(pieces);
  if (!drawings.empty()) drawings = draw(logits, sampler, pieces, drawings, results);
  try {
    while (!drawings.empty()) drawings = draw(logits, sampler, pieces, drawings, results);
  } catch (const std::exception&) {
    // What was drawn stays; the tokens behind it come in the next step, which says what is wrong if it still is.
  }
  return results;
}

RequestPiece without_proposals(RequestPiece request) {
  request.piece.tokens =
      request.piece.tokens.first(request.piece.tokens.size() - static_cast<size_t>(request.proposed));
  request.piece.logits -= request.proposed;
  request.proposed = 0;
  return request;
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
  const auto alone = [&](const RequestPiece& request) {
    const RequestPiece plain = without_proposals(request);
    return run_isolated(model, cache, sampler, {&plain, 1}).front();
  };
  std::vector<PieceResult> results;
  try {
    results = run_together(model, cache, sampler, pieces);
  } catch (const std::exception& problem) {
    if (pieces.size() == 1 && pieces.front().proposed == 0) {
      return std::vector<PieceResult>(1, {{}, failure_of(problem)});
    }
    for (const RequestPiece& one : pieces) results.push_back(alone(one));
    return results;
  }
  for (size_t p = 0; p < pieces.size(); ++p) {
    const bool by_proposals = results[p].failure && results[p].tokens.empty() && pieces[p].proposed > 0;
    if (by_proposals) results[p] = alone(pieces[p]);  // a proposal that is no text may spoil the rows beside it
  }
  return results;
}

}  // namespace braid
