// SPDX-License-Identifier: Apache-2.0
// Needle samples as questions of an evaluation: of a file, or fresh from the generator.
#pragma once

#include <memory>
#include <string>

#include "data/needle_stream.h"
#include "data/question_set.h"

namespace braid {

// The samples of FILE.jsonl, or FILE.h5, its mirror; named by the file. Contexts are cut by form.tokens, and asked as
// form.ask has it, or by question_text where that is empty; answers end at a stop id, or at a line end where there is
// none. UsageError: see read_needles and read_needle_mirror.
QuestionSet needle_questions(const std::string& path, const NeedleForm& form, std::vector<int64_t> stop_ids);

// Test samples by the generator, without end. UsageError for a specification that cannot be met.
QuestionSet generated_needle_questions(const NeedleSpec& spec, const std::string& language, const NeedleForm& form,
                                       std::vector<int64_t> stop_ids);

// What stands behind a context: the question, on a line of its own, and the answer's line.
std::string question_text(const NeedleSample& sample);

}  // namespace braid
