// SPDX-License-Identifier: Apache-2.0
#include "experiments/gist_answers.h"

#include "nn/precompiled.h"
#include "train/evaluate.h"

namespace braid {

namespace {

// Segments of so many tokens together, so that memory depends on their length as little as on their number.
int64_t rows_at_once(int64_t length) { return std::clamp<int64_t>(16384 / length, 1, 32); }

}  // namespace

at::Tensor decode_answers(GistModel& gists, AnswerPast past, const at::Tensor& question, int64_t count) {
  const at::NoGradGuard no_gradient;
  std::vector<at::Tensor> tokens;
  at::Tensor next = question;
  for (int64_t i = 0; i < count; ++i) {
    next = gists.answer_last(next, past).argmax(-1, true);
    tokens.push_back(next);
  }
  return at::cat(tokens, 1);
}

namespace {

int64_t most_of(const MostOfRanks& most, int64_t passes) { return most ? most(passes) : passes; }

}  // namespace

at::Tensor compress_texts(GistModel& gists, const at::Tensor& context, const SegmentPlan& plan, const MostOfRanks& most) {
  const at::Tensor rows = segment_rows(context, plan);
  if (at::GradMode::is_enabled()) return gists_by_text(gists.compress(rows), context.size(0));
  std::vector<at::Tensor> kept;
  for (const at::Tensor& some : rows.split(rows_at_once(plan.length))) kept.push_back(gists.compress(some));
  const int64_t all = most_of(most, std::ssize(kept));
  for (int64_t pass = std::ssize(kept); pass < all; ++pass) gists.compress(rows.narrow(0, 0, 1));
  return gists_by_text(at::cat(kept), context.size(0));
}

PasskeyAnswers answer_passkeys(GistModel& gists, const Dataset& data, const AskedTokens& asked, const SegmentPlan& plan,
                               Slice samples, int64_t at_once, const MostOfRanks& most) {
  const at::NoGradGuard no_gradient;
  const int64_t context = data.length() - (asked.question + asked.answer - 1), answer = asked.answer;
  const at::Device& device = gists.model().device();
  std::vector<at::Tensor> expected, gist, shuffled;
  const int64_t all = most_of(most, samples.count);
  for (int64_t done = 0; done < all; done += at_once) {
    const int64_t count = std::min(at_once, all - done), read = count + 1;  // the last one has a next, too
    const int64_t own = std::clamp<int64_t>(samples.count - done, 0, count);
    const Batch batch = gather(data, samples.first + done, read);
    const at::Tensor tokens = token_tensor(batch.tokens, batch, 0, read, device);
    const at::Tensor kept = compress_texts(gists, tokens.narrow(1, 0, context), plan),
                     question = tokens.narrow(0, 0, count).narrow(1, context, asked.question);
    const auto from = [&](const at::Tensor& past) {
      return decode_answers(gists, past_of_gists(past, plan.length + gists.count()), question, answer).narrow(0, 0, own).cpu();
    };
    gist.push_back(from(kept.narrow(0, 0, count)));
    shuffled.push_back(from(kept.narrow(0, 1, count)));
    expected.push_back(token_tensor(batch.targets, batch, 0, own, at::kCPU).narrow(1, data.length() - answer, answer));
  }
  if (expected.empty()) expected = gist = shuffled = {at::zeros({0, answer}, at::kLong)};
  return {at::cat(expected), at::cat(gist), at::cat(shuffled)};
}

namespace {

struct Asked {
  at::Tensor question, answer;  // [1, T], [1, A]
};

Asked asked_of(const at::Tensor& tokens, const at::Tensor& targets, int64_t context) {
  const at::Tensor places = targets.ne(ignored_target).nonzero().view({-1});
  const int64_t last_asked = places[0].item<int64_t>(), count = places.size(0);
  return {tokens.narrow(0, context, last_asked + 1 - context).unsqueeze(0),
          targets.narrow(0, last_asked, count).unsqueeze(0)};
}

}  // namespace

TextAnswers answer_texts(GistModel& gists, const ContextTask& data, const SegmentPlan& plan, Slice samples,
                         const MostOfRanks& most) {
  const at::NoGradGuard no_gradient;
  const at::Device& device = gists.model().device();
  const auto gists_of = [&](const Batch& batch) {
    return compress_texts(gists, token_tensor(batch.tokens, batch, 0, 1, device).narrow(1, 0, data.context()), plan, most);
  };
  TextAnswers right;
  const int64_t all = most_of(most, samples.count);
  if (all == 0) return right;
  Batch batch = gather(data, samples.first, 1);
  at::Tensor own = gists_of(batch);
  for (int64_t i = 0; i < all; ++i) {
    const Batch next = gather(data, samples.first + i + 1, 1);
    const at::Tensor other = gists_of(next);
    const Asked asked = asked_of(token_tensor(batch.tokens, batch, 0, 1, device)[0],
                                 token_tensor(batch.targets, batch, 0, 1, device)[0], data.context());
    const AnswerPast past = past_of_gists(at::cat({own, other}), plan.length + gists.count());
    const int64_t tokens = asked.answer.size(1);
    const at::Tensor said = decode_answers(gists, past, asked.question.expand({2, -1}), most_of(most, tokens)).narrow(1, 0, tokens);
    const at::Tensor equal = said.eq(asked.answer).all(1).cpu();
    right.gist += i < samples.count && equal[0].item<bool>();
    right.shuffled += i < samples.count && equal[1].item<bool>();
    batch = next;
    own = other;
  }
  return right;
}

int64_t exact_matches(const at::Tensor& given, const at::Tensor& expected) {
  return given.eq(expected).all(1).sum().item<int64_t>();
}

}  // namespace braid
