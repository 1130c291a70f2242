// SPDX-License-Identifier: Apache-2.0
#include "experiments/gist_loss.h"

#include <algorithm>

#include "experiments/gist_answers.h"
#include "nn/context_reading.h"
#include "nn/precompiled.h"
#include "parallel/gather_rows.h"
#include "train/evaluate.h"

namespace braid {

namespace {

// Samples of a batch, cut where the question begins, on the device.
struct Texts {
  at::Tensor context, question;  // [B, n], [B, Q]; Q ends with the longest answer
  at::Tensor asked, targets;     // places in the question's [B Q] that are followed by a token of the answer, and it
  at::Tensor span;               // [B, P], -100 where it is over; undefined without
  at::Tensor answer_tokens;      // of each sample, [B] fp32
};

at::Tensor on_device(const std::vector<int64_t>& values, const at::Device& device) {
  return at::tensor(at::ArrayRef<int64_t>(values), at::kLong).to(device);
}

Texts texts_of(const Batch& batch, int64_t first, int64_t count, const GistForm& form, const at::Device& device) {
  const int64_t context = batch.length - form.question_tokens - form.repeat_tokens;
  const auto target = [&](int64_t b, int64_t t) { return batch.targets[(first + b) * batch.length + context + t]; };
  int64_t longest = 1;
  std::vector<int64_t> answers(static_cast<size_t>(count), 0), asked, targets;
  for (int64_t b = 0; b < count; ++b) {
    for (int64_t t = 0; t < form.question_tokens; ++t) {
      if (target(b, t) == ignored_target) continue;
      ++answers[b];
      longest = std::max(longest, t + 1);
    }
  }
  for (int64_t b = 0; b < count; ++b) {
    for (int64_t t = 0; t < longest; ++t) {
      if (target(b, t) == ignored_target) continue;
      asked.push_back(b * longest + t);
      targets.push_back(target(b, t));
    }
  }
  const at::Tensor tokens = token_tensor(batch.tokens, batch, first, count, device);
  Texts texts{tokens.narrow(1, 0, context),
              tokens.narrow(1, context, longest),
              on_device(asked, device),
              on_device(targets, device),
              {},
              on_device(answers, device).to(at::kFloat)};
  if (form.repeat_tokens > 0) texts.span = tokens.narrow(1, context + form.question_tokens, form.repeat_tokens);
  return texts;
}

// Samples [part.first, part.first + part.count) of them.
Texts part_of(const Texts& all, const Slice& part) {
  const int64_t width = all.question.size(1);
  const at::Tensor mine = all.asked.ge(part.first * width).logical_and(all.asked.lt((part.first + part.count) * width));
  Texts texts{all.context.narrow(0, part.first, part.count),
              all.question.narrow(0, part.first, part.count),
              all.asked.index({mine}) - part.first * width,
              all.targets.index({mine}),
              {},
              all.answer_tokens.narrow(0, part.first, part.count)};
  if (all.span.defined()) texts.span = all.span.narrow(0, part.first, part.count);
  return texts;
}

// hidden [B, T, D] at those places, [N, D]; all of them are taken as they lie.
at::Tensor rows_at(const at::Tensor& hidden, const at::Tensor& places) {
  const at::Tensor rows = hidden.reshape({-1, hidden.size(-1)});
  return places.size(0) == rows.size(0) ? rows : rows.index_select(0, places);
}

at::Tensor log_probabilities(const at::Tensor& logits) {
  return at::log_softmax(logits, -1, logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
}

// Sum over the answers' tokens of KL(P || Q).
at::Tensor divergence(GistModel& gists, const Texts& texts, const at::Tensor& logits) {
  const int64_t before = texts.context.size(1), width = texts.question.size(1);
  const at::Tensor sample = texts.asked.div(width, "floor"), place = texts.asked - sample * width;
  const at::Tensor whole = at::cat({texts.context, texts.question}, 1);
  const at::Tensor teacher = log_probabilities(gists.full_logits(whole, sample * (before + width) + before + place));
  return (teacher.exp() * (teacher - log_probabilities(logits))).sum();
}

// Sum over the samples of the mean loss of each span's tokens, times the number of the sample's answer tokens.
at::Tensor repeat_loss(GistModel& gists, const GistForm& form, const Texts& texts, AnswerPast past) {
  at::Tensor targets = texts.span.clone();
  targets.narrow(1, 0, form.cue).fill_(ignored_target);
  const at::Tensor known = targets.ge(0);
  const at::Tensor hidden = gists.repeat(texts.span.narrow(1, 0, form.repeat_tokens - 1).clamp_min(0), past);
  const at::Tensor weights = texts.answer_tokens / known.sum(1).clamp_min(1).to(at::kFloat);
  const at::Tensor places = known.view({-1}).nonzero().view({-1});
  const at::Tensor said = log_probabilities(gists.logits(rows_at(hidden, places)));
  const at::Tensor right = said.gather(1, targets.view({-1}).index_select(0, places).unsqueeze(1)).squeeze(1);
  return -(right * weights.index_select(0, places.div(form.repeat_tokens, "floor")).to(right.scalar_type())).sum();
}

// The sum of a term joins those of the step.
at::Tensor counted(const at::Tensor& sum, GistTerms* terms, int64_t term, double over) {
  if (!terms) return sum;
  terms->values[term] += sum.detach();
  terms->values[term + GistTerms::repeated] += over;
  return sum;
}

at::Tensor answer_loss(GistModel& gists, const at::Tensor& kept, const GistForm& form, const Texts& texts, double scale,
                       LossTotals& totals, GistTerms* terms) {
  const int64_t first_position = form.segments.length + (form.raw ? 0 : gists.count());
  const auto answers = double(texts.targets.size(0));
  AnswerPast past = past_of_gists(kept, first_position);
  const at::Tensor logits = gists.logits(rows_at(gists.hidden(texts.question, past), texts.asked));
  std::vector<at::Tensor> further;
  if (form.kl_weight > 0 && !form.raw) {
    further.push_back(counted(divergence(gists, texts, logits), terms, GistTerms::kl, answers) *
                      (form.kl_weight * scale));
  }
  if (form.repeat_tokens > 0 && !form.raw) {
    const at::Tensor sum = repeat_loss(gists, form, texts, past_of_gists(kept, first_position));
    further.push_back(counted(sum, terms, GistTerms::repeat, answers) * (form.repeat_weight * scale));
  }
  at::Tensor loss = cross_entropy(logits, texts.targets, scale, totals);  // last: it takes the logits' memory
  for (const at::Tensor& term : further) loss = loss + term;
  return loss;
}

}  // namespace

GistTerms make_gist_terms(const at::Device& device) {
  return {at::zeros({4}, at::TensorOptions().dtype(at::kDouble).device(device))};
}

at::Tensor gist_loss(GistModel& gists, const GistForm& form, const Batch& batch, int64_t first, int64_t count,
                     double scale, LossTotals& totals, GistTerms* terms) {
  const Texts texts = texts_of(batch, first, count, form, gists.model().device());
  const at::Tensor kept =
      form.raw ? gists_by_text(read_context(gists.model(), segment_rows(texts.context, form.segments), gists.entering()), count)
               : compress_texts(gists, texts.context, form.segments, form.most);
  return answer_loss(gists, kept, form, texts, scale, totals, terms);
}

// A rank without a sample of its own answers the first with weight 0: all ranks make the same calls in the same order.
at::Tensor shared_gist_loss(GistModel& gists, const GistForm& form, Communicator& comm, const Batch& batch,
                            int64_t first, int64_t count, double scale, LossTotals& totals, GistTerms* terms) {
  const Texts all = texts_of(batch, first, count, form, gists.model().device());
  const at::Tensor rows = segment_rows(all.context, form.segments);
  const at::Tensor my_rows = rows_of_rank(rows, comm.rank(), comm.size());
  const at::Tensor mine = form.raw ? read_context(gists.model(), my_rows, gists.entering()) : gists.compress(my_rows);
  const at::Tensor kept = gists_by_text(gather_rows(mine, rows.size(0), comm), count);
  Slice asked = slice_of(count, comm.rank(), comm.size());
  LossTotals nobody = make_loss_totals(gists.model().device());
  const bool none = asked.count == 0;
  if (none) asked = {0, 1};
  return answer_loss(gists, kept.narrow(0, asked.first, asked.count), form, part_of(all, asked), none ? 0.0 : scale,
                     none ? nobody : totals, none ? nullptr : terms);
}

}  // namespace braid
