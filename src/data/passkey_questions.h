// SPDX-License-Identifier: Apache-2.0
// Held-out samples of the passkey task as questions, and how answers in its tokens are judged.
#pragma once

#include "data/passkey_task.h"
#include "data/question_set.h"

namespace braid {

// "passkey", "multikey-4", …: samples of that shape, from 0 on. The judgement follows data/answer_score.h, with five
// digits in a row (vt: a name) as the form of a key.
QuestionSet passkey_questions(const PasskeyShape& shape);

// "48213 END", "48213 10577 END", "w17 w3 END"; marks by number: "<12>".
std::string passkey_text(const std::vector<int64_t>& tokens);

}  // namespace braid
