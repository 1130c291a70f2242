// SPDX-License-Identifier: Apache-2.0
#include "infer/isolated_step.h"

#include "base/until_it_fits.h"
#include "nn/device_memory.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

constexpr const char* not_finite = "the model's logits are NaN or infinite";

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

// A token of each drawing; those that go on, since the token is what was proposed. Once the sampler has drawn nothing
// throws: a drawn token that is lost could not be drawn again.
std::vector<Drawing> draw(const at::Tensor& logits, Sampler& sampler, std::span<const RequestPiece> pieces,
                          const std::vector<Drawing>& drawings, std::span<PieceResult> results) {
  std::vector<int64_t> slots;
  for (const Drawing& one : drawings) slots.push_back(pieces[one.piece].slot);
  std::vector<Drawing> next;
  next.reserve(drawings.size());
  SampledTokens sampled = sampler.sample(rows_of(logits, drawings), slots);
  for (size_t r = 0; r < drawings.size(); ++r) {
    const RequestPiece& request = pieces[drawings[r].piece];
    PieceResult& result = results[drawings[r].piece];
    const int64_t id = sampled.rows[r].id;
    if (id < 0) {
      result.failure = until_it_fits([] { return StepFailure{RequestOutcome::failed, not_finite}; });
      continue;
    }
    const auto proposals = request.piece.tokens.last(static_cast<size_t>(request.proposed));
    const size_t drawn = result.tokens.size();
    if (drawn < proposals.size() && proposals[drawn] == id) next.push_back({drawings[r].piece, drawings[r].row + 1});
    result.tokens.push_back(std::move(sampled.rows[r]));
  }
  return next;
}

void run_together(const StepSite& site, std::span<const RequestPiece> pieces, std::span<PieceResult> results) {
  std::vector<StepPiece> step;
  for (const RequestPiece& one : pieces) step.push_back(one.piece);
  for (size_t p = 0; p < pieces.size(); ++p) results[p].tokens.reserve(static_cast<size_t>(pieces[p].proposed) + 1);
  const at::Tensor logits = site.steps(site.model, site.cache, step);
  std::vector<Drawing> drawings = first_drawings(pieces);
  if (!drawings.empty()) drawings = draw(logits, site.sampler, pieces, drawings, results);
  try {
    while (!drawings.empty()) drawings = draw(logits, site.sampler, pieces, drawings, results);
  } catch (const std::exception&) {
    // What was drawn stays; the tokens behind it come in the next step, which says what is wrong if it still is.
  }
}

RequestPiece without_proposals(RequestPiece request) {
  request.piece.tokens =
      request.piece.tokens.first(request.piece.tokens.size() - static_cast<size_t>(request.proposed));
  request.piece.logits -= request.proposed;
  request.proposed = 0;
  return request;
}

void run_apart(const StepSite& site, std::span<const RequestPiece> pieces, std::span<PieceResult> results) {
  const auto alone = [&](size_t p) {
    const RequestPiece plain = without_proposals(pieces[p]);
    results[p].tokens.clear();
    results[p].failure.reset();
    run_apart(site, {&plain, 1}, results.subspan(p, 1));
  };
  try {
    run_together(site, pieces, results);
  } catch (const std::exception& problem) {
    if (pieces.size() == 1 && pieces.front().proposed == 0) {
      results.front().failure = failure_of(problem);
      return;
    }
    for (size_t p = 0; p < pieces.size(); ++p) alone(p);
    return;
  }
  for (size_t p = 0; p < pieces.size(); ++p) {
    const bool by_proposals = results[p].failure && results[p].tokens.empty() && pieces[p].proposed > 0;
    if (by_proposals) alone(p);  // a proposal that is no text may spoil the rows beside it
  }
}

}  // namespace

StepFailure failure_of(const std::exception& problem) {
  const auto* of_torch = dynamic_cast<const c10::Error*>(&problem);
  const std::string text = of_torch ? of_torch->what_without_backtrace() : problem.what();
  return {is_out_of_memory(problem) ? RequestOutcome::out_of_memory : RequestOutcome::failed,
          text.substr(0, text.find('\n'))};
}

std::vector<PieceResult> run_isolated(const StepSite& site, std::span<const RequestPiece> pieces) {
  std::vector<PieceResult> results(pieces.size());
  run_apart(site, pieces, results);
  return results;
}

}  // namespace braid
