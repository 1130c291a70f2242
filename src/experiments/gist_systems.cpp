// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/error.h"
#include "experiments/gist_answers.h"
#include "experiments/gist_readers.h"
#include "experiments/gist_system.h"
#include "infer/decode.h"
#include "nn/precompiled.h"

namespace braid {

AnswerTokens decode_greedily(const QuestionSet& set, const at::Tensor& question,
                             const std::function<at::Tensor(const at::Tensor&)>& logits_after) {
  const at::NoGradGuard no_gradient;
  const auto rows = static_cast<size_t>(question.size(0));
  AnswerTokens answers(rows);
  std::vector<bool> ended(rows, false);
  at::Tensor next = question;
  for (int64_t i = 0; i < set.answer_tokens; ++i) {
    next = logits_after(next).argmax(-1, true);
    const at::Tensor ids = next.cpu().contiguous();
    for (size_t b = 0; b < rows; ++b) {
      if (ended[b]) continue;
      const int64_t id = ids.const_data_ptr<int64_t>()[b];
      answers[b].push_back(id);
      ended[b] = std::find(set.stop_ids.begin(), set.stop_ids.end(), id) != set.stop_ids.end();
    }
    if (std::find(ended.begin(), ended.end(), false) == ended.end()) break;
  }
  return answers;
}

AnswerTokens answer_behind(const SystemNeeds& needs, const at::Tensor& gists, int64_t first_position,
                           const at::Tensor& question) {
  AnswerPast past = past_of_gists(gists, first_position);
  GistModel& model = *needs.loaded.gists;
  return decode_greedily(needs.set, question, [&](const at::Tensor& ids) {
    const at::Tensor logits = model.answer(ids, past);
    return logits.select(1, logits.size(1) - 1);
  });
}

AnswerTokens answer_raw(const SystemNeeds& needs, const at::Tensor& tokens) {
  const at::NoGradGuard no_gradient;
  Transformer& model = *needs.loaded.model;
  KvCache cache = make_kv_cache(model, std::vector<int64_t>(static_cast<size_t>(tokens.size(0)), 0),
                                tokens.size(1) + needs.set.answer_tokens);
  model.residual().begin_step();
  return decode_greedily(needs.set, tokens, [&](const at::Tensor& ids) { return decode(model, cache, ids); });
}

namespace {

// Answers from gists [B, L, 2, H_kv, P, d] that were made of `batch` with `plan`.
KeptContexts kept_gists(const SystemNeeds& needs, const AskedBatch& batch, const SegmentPlan& plan, at::Tensor gists) {
  const double positions = double(gists.size(4)), bytes = positions * double(position_bytes(*needs.loaded.model));
  const int64_t first = needs.first_position(plan);
  return {positions, bytes, [&needs, &batch, first, gists, positions, bytes] {
            return SystemReply{answer_behind(needs, gists, first, batch.question), positions, bytes};
          }};
}

// Raw tokens [B, m], kept as they are, and read before the question. As keys and values they are so many bytes.
KeptContexts kept_tokens(const SystemNeeds& needs, const AskedBatch& batch, const at::Tensor& tokens) {
  const double positions = double(tokens.size(1)), bytes = positions * double(position_bytes(*needs.loaded.model));
  return {positions, bytes, [&needs, &batch, tokens, positions, bytes] {
            return SystemReply{answer_raw(needs, at::cat({tokens, batch.question}, 1)), positions, bytes};
          }};
}

at::Tensor compressed(const SystemNeeds& needs, const at::Tensor& context, const SegmentPlan& plan) {
  const at::NoGradGuard no_gradient;
  return compress_texts(*needs.loaded.gists, context, plan);
}

// The starts of the segments that hold what is asked for: for each statement the first in which it is whole.
std::vector<int64_t> asked_segments(const Question& question, const SegmentPlan& plan) {
  std::vector<int64_t> starts;
  for (const TokenSpan& span : question.asked) {
    const auto holds = [&](int64_t start) { return start <= span.begin && span.end <= start + plan.length; };
    const auto at = std::find_if(plan.starts.begin(), plan.starts.end(), holds);
    const int64_t start = at == plan.starts.end() ? plan.starts.back() : *at;
    if (std::find(starts.begin(), starts.end(), start) == starts.end()) starts.push_back(start);
  }
  return starts;
}

// Samples may need different numbers of segments, so each is answered by itself.
KeptContexts oracle(const SystemNeeds& needs, const AskedBatch& batch) {
  const SegmentPlan plan = needs.plan(batch.context.size(1));
  std::vector<at::Tensor> gists;
  double positions = 0;
  for (size_t b = 0; b < batch.questions.size(); ++b) {
    SegmentPlan asked{plan.length, asked_segments(batch.questions[b], plan)};
    if (asked.starts.empty()) asked = plan;  // nobody knows where to look
    gists.push_back(compressed(needs, batch.context.narrow(0, static_cast<int64_t>(b), 1), asked));
    positions += double(gists.back().size(4)) / double(batch.questions.size());
  }
  const double bytes = positions * double(position_bytes(*needs.loaded.model));
  return {positions, bytes, [&needs, &batch, plan, gists, positions, bytes] {
            SystemReply reply{{}, positions, bytes};
            for (size_t b = 0; b < gists.size(); ++b) {
              const at::Tensor question = batch.question.narrow(0, static_cast<int64_t>(b), 1);
              reply.tokens.push_back(answer_behind(needs, gists[b], needs.first_position(plan), question).front());
            }
            return reply;
          }};
}

KeptContexts search(const SystemNeeds& needs, const AskedBatch& batch) {
  const double positions = double(batch.context.size(1)), bytes = positions * double(sizeof(int64_t));
  return {positions, bytes, [&needs, &batch, positions, bytes] {
            SystemReply reply{{}, positions, bytes};
            for (const Question& question : batch.questions) reply.tokens.push_back(needs.set.search(question));
            return reply;
          }};
}

}  // namespace

std::vector<GistSystem> gist_systems(const SystemNeeds& needs) {
  const auto gists_of = [&needs](const AskedBatch& batch, const at::Tensor& context) {
    const SegmentPlan plan = needs.plan(context.size(1));
    return kept_gists(needs, batch, plan, compressed(needs, context, plan));
  };
  const auto nothing = [&needs](const AskedBatch& batch) {
    const SegmentPlan plan = needs.plan(batch.context.size(1));
    const ModelConfig& c = needs.loaded.model->config();
    const auto type = compute_type(needs.loaded.model->parameters().precision());
    const at::Tensor none = at::empty({batch.context.size(0), c.layers, 2, c.key_value_heads(), 0, c.head_width()},
                                      batch.context.options().dtype(type));
    return kept_gists(needs, batch, plan, none);
  };
  const auto last_tokens = [&needs](const AskedBatch& batch) {
    const int64_t n = batch.context.size(1), kept = needs.plan(n).segments() * needs.loaded.gists->count();
    return kept_tokens(needs, batch, batch.context.narrow(1, n - std::min(kept, n), std::min(kept, n)));
  };
  std::vector<GistSystem> systems = {
      {"gist", [=](const AskedBatch& batch) { return gists_of(batch, batch.context); }},
      {"shuffled", [=](const AskedBatch& batch) { return gists_of(batch, batch.other); }},
      {"none", nothing},
      {"truncated", last_tokens},
      {"oracle", [&needs](const AskedBatch& batch) { return oracle(needs, batch); }},
      {"search", [&needs](const AskedBatch& batch) { return search(needs, batch); }},
      {"full", [&needs](const AskedBatch& batch) { return kept_tokens(needs, batch, batch.context); }, true}};
  for (GistSystem& system : reading_systems(needs)) systems.push_back(std::move(system));
  return systems;
}

std::vector<GistSystem> systems_named(std::vector<GistSystem> systems, const std::vector<std::string>& names) {
  std::string known;
  for (const GistSystem& system : systems) known += (known.empty() ? "" : ", ") + system.name;
  for (const std::string& name : names) {
    const auto is = [&](const GistSystem& system) { return system.name == name; };
    if (std::none_of(systems.begin(), systems.end(), is))
      throw UsageError(str("expected systems among ", known, ", found \"", name, "\""));
  }
  std::erase_if(systems, [&](const GistSystem& system) {
    return std::find(names.begin(), names.end(), system.name) == names.end();
  });
  return systems;
}

}  // namespace braid
