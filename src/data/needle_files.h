// SPDX-License-Identifier: Apache-2.0
// Needle samples as lines of JSON.
#pragma once

#include <string>
#include <vector>

#include "data/needle_sample.h"

namespace braid {

// {"id", "split", "lang", "task", "seed", "context_tokens", "context", "needles": [{"key", "value", "char_start",
// "char_end", "tok_start", "tok_end", "depth"}], "instruction", "question", "answers", "filler_id", "distractor_rate",
// "tokenizer"}, without a line end.
std::string json_line(const NeedleSample& sample);

// A file of such lines, or of the public experiment's {"context", "question", "answer", "needle", "needle_position",
// "context_length_chars", "language"}, of which context, question and answer or needle must be there; its samples have
// one needle, whose span is that of the key alone, and no tokens. Empty lines do not count.
// UsageError "FILE:LINE: …": a field is missing or of another type, a key does not stand where it should, no UTF-8, no
// JSON, the last line has no end; "FILE: …" where there is no file or no sample in it.
std::vector<NeedleSample> read_needles(const std::string& path);

}  // namespace braid
