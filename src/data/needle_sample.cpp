// SPDX-License-Identifier: Apache-2.0
#include "data/needle_sample.h"

#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "data/needle_haystack.h"
#include "text/utf8.h"

namespace braid {

namespace {

constexpr std::pair<NeedleTask, const char*> tasks[] = {{NeedleTask::single, "single"},
                                                        {NeedleTask::multikey, "multikey"},
                                                        {NeedleTask::multivalue, "multivalue"},
                                                        {NeedleTask::multiquery, "multiquery"},
                                                        {NeedleTask::vt, "vt"}};
constexpr int64_t most_attempts = 64;

int64_t points_in(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

size_t byte_of_point(std::string_view text, int64_t point) {
  size_t at = 0;
  for (; point > 0 && at < text.size(); --point) at += code_point_bytes(static_cast<unsigned char>(text[at]));
  return at;
}

void require_valid(const NeedleSpec& spec) {
  if (spec.least_tokens < 1 || spec.most_tokens < spec.least_tokens)
    throw UsageError(
        str("--tokens ", spec.least_tokens, "..", spec.most_tokens, ": expected 1 or more, the smaller first"));
  if (!(spec.least_depth >= 0 && spec.most_depth <= 1 && spec.least_depth <= spec.most_depth))
    throw UsageError(
        str("--depth ", 100 * spec.least_depth, "..", 100 * spec.most_depth, ": expected 0 to 100, the smaller first"));
  if (!(spec.distractor_rate >= 0 && spec.distractor_rate <= 1))
    throw UsageError(str("--distractors ", spec.distractor_rate, ": expected 0 to 1"));
  const int64_t least = spec.task == NeedleTask::vt ? 1 : 2;
  if (spec.task != NeedleTask::single && (spec.keys < least || spec.keys > 64))
    throw UsageError(str("--keys ", spec.keys, ": expected ", least, " to 64"));
}

Needle needle_at(const Statement& statement, const Haystack& haystack, std::pair<size_t, size_t> bytes,
                 const NeedleTokens& tokens) {
  Needle needle{statement.key, statement.value};
  const std::string_view text = haystack.text;
  needle.char_start = points_in(text.substr(0, bytes.first));
  needle.char_end = needle.char_start + points_in(text.substr(bytes.first, bytes.second - bytes.first));
  std::tie(needle.tok_start, needle.tok_end) =
      tokens.span_of(haystack.text, haystack.tokens, bytes.first, bytes.second);
  const auto places = static_cast<int64_t>(haystack.tokens.size()) - (needle.tok_end - needle.tok_start);
  needle.depth = places > 0 ? static_cast<double>(needle.tok_start) / static_cast<double>(places) : 0;
  return needle;
}

// A key may stand in a wording by chance, or two statements may read the same.
bool is_unambiguous(const NeedlePlan& plan, const Haystack& haystack) {
  for (const Statement& statement : plan.statements) {
    if (occurrences(haystack.text, statement.text) != 1) return false;
  }
  if (plan.in_order) return occurrences(haystack.text, plan.statements[0].value) == 1;
  return std::all_of(plan.statements.begin(), plan.statements.end(),
                     [&](const Statement& statement) { return occurrences(haystack.text, statement.value) == 1; });
}

void require_spans_decode(const NeedleSample& sample, const NeedleTokens& tokens, const std::vector<TokenId>& ids) {
  for (const Needle& needle : sample.needles) {
    const auto span = std::span(ids).subspan(size_t(needle.tok_start), size_t(needle.tok_end - needle.tok_start));
    const std::string decoded = tokens.decode(span);
    if (trimmed(decoded) != statement_of(sample, needle))
      throw UsageError(str("tokenizer ", tokens.name(), ": gives '", on_one_line(decoded), "' back for '",
                           statement_of(sample, needle), "'"));
  }
}

std::string sample_id(const NeedleSpec& spec, NeedleSplit split, int64_t index) {
  char number[24];
  std::snprintf(number, sizeof number, "%06lld", static_cast<long long>(index));
  return str(spec.name, "-", name_of(split), "-", number);
}

TokenisedNeedles finished(const NeedleSpec& spec, const NeedleTexts& texts, const NeedleTokens& tokens,
                          const NeedlePlan& plan, Haystack haystack) {
  TokenisedNeedles made;
  NeedleSample& sample = made.sample;
  sample.language = texts.language;
  sample.task = name_of(spec.task);
  sample.seed = spec.seed;
  sample.context_tokens = static_cast<int64_t>(haystack.tokens.size());
  for (size_t i = 0; i < plan.statements.size(); ++i)
    sample.needles.push_back(needle_at(plan.statements[i], haystack, haystack.statements[i], tokens));
  sample.context = std::move(haystack.text);
  sample.instruction = plan.instruction;
  sample.question = plan.question;
  sample.answers = plan.answers;
  sample.filler_id = id_of(texts);
  sample.distractor_rate = spec.distractor_rate;
  sample.tokenizer = tokens.name();
  made.tokens = std::move(haystack.tokens);
  return made;
}

}  // namespace

const char* name_of(NeedleTask task) {
  for (const auto& [known, name] : tasks) {
    if (known == task) return name;
  }
  return "";
}

NeedleTask needle_task(const std::string& name) {
  for (const auto& [task, known] : tasks) {
    if (name == known) return task;
  }
  throw UsageError(str("--task ", name, ": expected single, multikey, multivalue, multiquery or vt"));
}

const char* name_of(NeedleSplit split) { return split == NeedleSplit::train ? "train" : "test"; }

NeedleSplit needle_split(const std::string& name) {
  if (name == "train") return NeedleSplit::train;
  if (name == "test") return NeedleSplit::test;
  throw UsageError(str("--split ", name, ": expected train or test"));
}

TokenisedNeedles make_needle_sample(const NeedleSpec& spec, const NeedleTexts& texts, const NeedleTokens& tokens,
                                    NeedleSplit split, int64_t index) {
  require_valid(spec);
  for (int64_t attempt = 0; attempt < most_attempts; ++attempt) {
    NeedleDraws draws(spec.seed, split, index, attempt);
    const int64_t budget = draws.between(spec.least_tokens, spec.most_tokens);
    const NeedlePlan plan = plan_needles(spec, texts, split, draws);
    Haystack haystack = build_haystack(spec, texts, tokens, plan, split, budget, draws);
    if (!is_unambiguous(plan, haystack)) continue;
    TokenisedNeedles made = finished(spec, texts, tokens, plan, std::move(haystack));
    made.sample.id = sample_id(spec, split, index);
    made.sample.split = name_of(split);
    require_spans_decode(made.sample, tokens, made.tokens);
    return made;
  }
  throw UsageError(str("needles: sample ", index, ": its keys are not unique in ", most_attempts, " attempts"));
}

std::string_view statement_of(const NeedleSample& sample, const Needle& needle) {
  const size_t begin = byte_of_point(sample.context, needle.char_start);
  const std::string_view rest = std::string_view(sample.context).substr(begin);
  return rest.substr(0, byte_of_point(rest, needle.char_end - needle.char_start));
}

int64_t occurrences(std::string_view text, std::string_view part) {
  int64_t count = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

}  // namespace braid
