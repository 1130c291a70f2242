// SPDX-License-Identifier: Apache-2.0
// Answers to passkey questions, decoded freely and greedily, and how many of them are right.
#pragma once

#include <functional>

#include "data/passkey_task.h"
#include "nn/gist.h"
#include "nn/gist_segments.h"

namespace braid {

// Question tokens [B, T] behind `past`, then `count` new ones [B, count], each the likeliest.
at::Tensor decode_answers(GistModel& gists, AnswerPast past, const at::Tensor& question, int64_t count);

// Where ranks gather weights in every pass all make as many: from how many passes a rank has to make to how many the rank with
// the most has, which the others make for show. Collective. Empty: each makes its own.
using MostOfRanks = std::function<int64_t(int64_t passes)>;

// The gists of contexts [B, n]; without gradients some segments at a time, whatever the length.
at::Tensor compress_texts(GistModel& gists, const at::Tensor& context, const SegmentPlan& plan, const MostOfRanks& most = {});

// Of what follows a context: the question's tokens, and the answer's with the end.
struct AskedTokens {
  int64_t question = 1, answer = passkey::question_tokens;
};
// Answers of held-out samples; each [N, A]: those of the answer and what follows them.
struct PasskeyAnswers {
  at::Tensor expected, gist, shuffled;  // shuffled: from the next sample's gists
};
// Samples [first, first + count), `at_once` of them together. What is answered depends on neither.
PasskeyAnswers answer_passkeys(GistModel& gists, const Dataset& data, const AskedTokens& asked, const SegmentPlan& plan,
                               Slice samples, int64_t at_once, const MostOfRanks& most = {});

// How many of samples [first, first + count) of a task, whose questions differ in length, are answered with just the
// tokens that end them: from their own gists, and from the next sample's.
struct TextAnswers {
  int64_t gist = 0, shuffled = 0;
};
TextAnswers answer_texts(GistModel& gists, const ContextTask& data, const SegmentPlan& plan, Slice samples,
                         const MostOfRanks& most = {});

// Rows of `given` that equal `expected` in every token.
int64_t exact_matches(const at::Tensor& given, const at::Tensor& expected);

}  // namespace braid
