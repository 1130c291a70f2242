// SPDX-License-Identifier: Apache-2.0
#include "experiments/gist_readers.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/philox.h"
#include "experiments/gist_answers.h"
#include "nn/context_reading.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

constexpr int64_t rows_at_once = 32, neighbours = 5;
constexpr double token_bytes = sizeof(int32_t);

double kept_bytes(const SystemNeeds& needs, double positions) {
  return positions * double(position_bytes(*needs.loaded.model));
}

// How many raw tokens may be read: as many as the context has gists.
int64_t budget(const SystemNeeds& needs, int64_t context) {
  return std::min(needs.plan(context).segments() * needs.loaded.gists->count(), context);
}

KeptContexts pooled(const SystemNeeds& needs, const AskedBatch& batch) {
  const at::NoGradGuard no_gradient;
  Transformer& model = *needs.loaded.model;
  const SegmentPlan plan = needs.plan(batch.context.size(1));
  const at::ScalarType wide = master_type(model.parameters().precision());
  std::vector<at::Tensor> rows;
  for (const at::Tensor& some : segment_rows(batch.context, plan).split(rows_at_once)) {
    rows.push_back(pool_context(read_context(model, some), needs.loaded.gists->count(), model.config(), wide));
  }
  const at::Tensor kept = gists_by_text(at::cat(rows), batch.context.size(0));
  const double positions = double(kept.size(4)), bytes = kept_bytes(needs, positions);
  return {
      positions, bytes, [&needs, &batch, plan, kept, positions, bytes] {
        return SystemReply{answer_behind(needs, kept, needs.first_position(plan), batch.question), positions, bytes};
      }};
}

// Weights of neighbours count for each other, so that what stands together is kept together.
KeptContexts snapkv(const SystemNeeds& needs, const AskedBatch& batch) {
  const at::NoGradGuard no_gradient;
  Transformer& model = *needs.loaded.model;
  const int64_t n = batch.context.size(1), kept = budget(needs, n);
  const at::Tensor raw = read_context(model, batch.context);
  return {double(n), kept_bytes(needs, double(n)), [&needs, &batch, &model, raw, n, kept] {
            const at::Tensor looks = attention_on(model, batch.question, past_of_gists(raw, n));
            const at::Tensor pooled = at::max_pool1d(looks.flatten(0, 1), {neighbours}, {1}, {neighbours / 2});
            const at::Tensor chosen = select_positions(raw, pooled.view(looks.sizes()), kept);
            return SystemReply{answer_behind(needs, chosen, n, batch.question), double(kept),
                               kept_bytes(needs, double(kept))};
          }};
}

// Raw tokens from a start of each context on; a start of -1 reads none of it.
SystemReply answer_from_stretches(const SystemNeeds& needs, const AskedBatch& batch, const std::vector<int64_t>& starts,
                                  int64_t tokens) {
  SystemReply reply;
  for (size_t b = 0; b < starts.size(); ++b) {
    const auto row = static_cast<int64_t>(b);
    const int64_t read = starts[b] < 0 ? 0 : tokens;
    const at::Tensor text = batch.context.narrow(0, row, 1).narrow(1, std::max<int64_t>(starts[b], 0), read);
    reply.tokens.push_back(answer_raw(needs, at::cat({text, batch.question.narrow(0, row, 1)}, 1)).front());
    reply.read_positions += double(read) / double(starts.size());
  }
  reply.read_bytes = kept_bytes(needs, reply.read_positions);
  return reply;
}

KeptContexts bm25(const SystemNeeds& needs, const AskedBatch& batch) {
  const int64_t n = batch.context.size(1), tokens = budget(needs, n);
  return {double(n), double(n) * token_bytes, [&needs, &batch, n, tokens] {
            const std::vector<int64_t> all = stretches(n, tokens);
            std::vector<int64_t> starts;
            for (const Question& question : batch.questions) {
              const int64_t best = best_stretch(question.context, all, tokens, question.question);
              starts.push_back(best < 0 ? -1 : all[static_cast<size_t>(best)]);
            }
            return answer_from_stretches(needs, batch, starts, tokens);
          }};
}

KeptContexts window(const SystemNeeds& needs, const AskedBatch& batch) {
  const int64_t n = batch.context.size(1), tokens = budget(needs, n);
  std::vector<int64_t> starts;
  for (const Question& question : batch.questions) {
    const RandomStream random(0, RandomPurpose::task, "gist window", question.index);
    starts.push_back(random.below(0, n - tokens + 1));
  }
  return {double(tokens), double(tokens) * token_bytes,
          [&needs, &batch, starts, tokens] { return answer_from_stretches(needs, batch, starts, tokens); }};
}

// The raw text [B r, S] of the r segments of each context whose gists [B, L, 2, H_kv, G k, d] the question looks at
// most, as rows of segment_rows.
at::Tensor chosen_rows(const SystemNeeds& needs, const AskedBatch& batch, const SegmentPlan& plan,
                       const at::Tensor& gists, int64_t count) {
  const AnswerPast past = past_of_gists(gists, needs.first_position(plan));
  const at::Tensor looks = attention_on(*needs.loaded.model, batch.question, past).mean(at::IntArrayRef{1, 2});
  const at::Tensor of_segments = looks.view({looks.size(0), plan.segments(), -1}).sum(-1);
  const at::Tensor best = std::get<1>(of_segments.topk(count, -1)).cpu();
  std::vector<at::Tensor> rows;
  for (int64_t j = 0; j < count; ++j) {
    for (int64_t b = 0; b < best.size(0); ++b) {
      const int64_t start = plan.starts[static_cast<size_t>(best[b][j].item<int64_t>())];
      rows.push_back(batch.context[b].narrow(0, start, plan.length));
    }
  }
  return at::stack(rows);
}

KeptContexts hybrid(const SystemNeeds& needs, const AskedBatch& batch) {
  const at::NoGradGuard no_gradient;
  const int64_t n = batch.context.size(1);
  const SegmentPlan plan = needs.plan(n);
  const at::Tensor gists = compress_texts(*needs.loaded.gists, batch.context, plan);
  const double held = double(gists.size(4));
  return {held + double(n), kept_bytes(needs, held) + double(n) * token_bytes, [&needs, &batch, plan, gists, held] {
            const int64_t count = std::min(needs.reread, plan.segments());
            const at::Tensor rows = chosen_rows(needs, batch, plan, gists, count);
            const at::Tensor raw = gists_by_text(read_context(*needs.loaded.model, rows), batch.context.size(0));
            const double read = held + double(count * plan.length);
            return SystemReply{answer_behind(needs, raw, plan.length, batch.question), read, kept_bytes(needs, read)};
          }};
}

}  // namespace

std::vector<GistSystem> reading_systems(const SystemNeeds& needs) {
  const auto made = [&needs](KeptContexts (*make)(const SystemNeeds&, const AskedBatch&)) {
    return [&needs, make](const AskedBatch& batch) { return make(needs, batch); };
  };
  return {{"pooled", made(pooled)},
          {"bm25", made(bm25)},
          {"window", made(window)},
          {"hybrid", made(hybrid)},
          {"snapkv", made(snapkv), true}};
}

std::vector<int64_t> stretches(int64_t context, int64_t tokens) {
  std::vector<int64_t> starts;
  for (int64_t start = 0; start + tokens < context; start += std::max<int64_t>(tokens / 2, 1)) starts.push_back(start);
  starts.push_back(context - tokens);
  return starts;
}

int64_t best_stretch(const std::vector<int64_t>& context, const std::vector<int64_t>& starts, int64_t tokens,
                     const std::vector<int64_t>& question) {
  constexpr double k1 = 1.2;
  const auto documents = double(starts.size());
  std::vector<double> scores(starts.size(), 0.0);
  for (const int64_t word : std::set<int64_t>(question.begin(), question.end())) {
    std::vector<double> counts;
    for (const int64_t start : starts) {
      counts.push_back(double(std::count(context.begin() + start, context.begin() + start + tokens, word)));
    }
    const auto having = double(starts.size() - static_cast<size_t>(std::count(counts.begin(), counts.end(), 0.0)));
    const double rarity = std::log(1 + (documents - having + 0.5) / (having + 0.5));
    for (size_t i = 0; i < counts.size(); ++i) scores[i] += rarity * counts[i] * (k1 + 1) / (counts[i] + k1);
  }
  const auto best = std::max_element(scores.begin(), scores.end());
  return *best > 0 ? best - scores.begin() : -1;
}

}  // namespace braid
