// SPDX-License-Identifier: Apache-2.0
#include "data/needle_questions.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "data/needle_files.h"
#include "data/needle_mirror.h"
#include "text/utf8.h"

namespace braid {

namespace {

using Tokens = std::vector<int64_t>;
using Samples = std::vector<NeedleSample>;

Tokens ids_of(const NeedleTokens& tokens, const std::string& text) {
  const std::vector<TokenId> ids = tokens.encode(text);
  return {ids.begin(), ids.end()};
}

std::string text_of(const NeedleTokens& tokens, const Tokens& ids, const Tokens& stop_ids) {
  std::vector<TokenId> kept;
  for (const int64_t id : ids) {
    if (std::find(stop_ids.begin(), stop_ids.end(), id) != stop_ids.end()) break;
    kept.push_back(static_cast<TokenId>(id));
  }
  return repair_utf8(tokens.decode(kept));
}

// Statements that the answer needs: those with an answer in them; vt: all of the chain.
std::vector<const Needle*> asked_needles(const NeedleSample& sample) {
  std::vector<const Needle*> asked;
  const auto is_answer = [&](const std::string& text) {
    return std::find(sample.answers.begin(), sample.answers.end(), text) != sample.answers.end();
  };
  for (const Needle& needle : sample.needles) {
    if (is_answer(needle.value) || is_answer(needle.key)) asked.push_back(&needle);
  }
  return asked;
}

Tokens asked_text(const NeedleSample& sample, const NeedleForm& form) {
  if (!form.ask) return ids_of(form.tokens, question_text(sample));
  const std::vector<TokenId> ids = form.ask(sample).question;
  return {ids.begin(), ids.end()};
}

Question question_of(const NeedleSample& sample, const NeedleForm& form, int64_t index) {
  const NeedleTokens& tokens = form.tokens;
  Question question;
  question.index = index;
  question.context = ids_of(tokens, sample.context);
  question.question = asked_text(sample, form);
  for (const Needle* needle : asked_needles(sample)) {
    if (needle->tok_end > needle->tok_start && sample.tokenizer == tokens.name())
      question.asked.push_back({needle->tok_start, needle->tok_end});
    if (!question.depth) question.depth = needle->depth;
  }
  return question;
}

// What the statements say, by their places in the file: shows that the file's answers stand where it says.
std::string search(const NeedleSample& sample, const KeyForm& form) {
  std::string found;
  for (const Needle* needle : asked_needles(sample)) {
    const std::string said(statement_of(sample, *needle));
    for (const std::string& word : runs_of(said)) {
      const bool named = sample.task == "vt" && word == needle->key;
      if (!form.fits(word) || (sample.task == "vt" && !named)) continue;
      found += (found.empty() ? "" : ", ") + word;
      break;
    }
  }
  return found;
}

struct NeedleSet {
  std::function<NeedleSample(int64_t)> sample;
  NeedleForm form;
  Tokens stop_ids;
  KeyForm keys;
};

QuestionSet set_of(std::shared_ptr<const NeedleSet> needles, const std::string& name, int64_t size,
                   int64_t answer_bytes) {
  QuestionSet set;
  set.name = name;
  set.size = size;
  set.answer_tokens = std::max<int64_t>(16, answer_bytes + 8);
  set.stop_ids = needles->stop_ids;
  set.question = [needles](int64_t i) { return question_of(needles->sample(i), needles->form, i); };
  set.judge = [needles](const Question& question, const Tokens& ids) {
    const NeedleSample sample = needles->sample(question.index);
    const std::string answer = text_of(needles->form.tokens, ids, needles->stop_ids);
    return JudgedAnswer{answer_text(sample), answer, score_answer(answer, sample),
                        kind_of_answer(answer, sample, needles->keys)};
  };
  set.search = [needles](const Question& question) {
    return ids_of(needles->form.tokens, search(needles->sample(question.index), needles->keys));
  };
  return set;
}

// An answer ends with its line where nothing else ends it.
Tokens stops_of(const NeedleTokens& tokens, std::vector<int64_t> stop_ids) {
  if (!stop_ids.empty()) return stop_ids;
  const Tokens line_end = ids_of(tokens, "\n");
  return line_end.size() == 1 ? line_end : Tokens();
}

}  // namespace

std::string question_text(const NeedleSample& sample) { return "\n" + sample.question + "\n"; }

namespace {

KeyForm form_of(const std::vector<std::string>& keys, const std::string& path) {
  try {
    return form_of_keys(keys);
  } catch (const Error& problem) {
    throw UsageError(str(path, ": ", problem.what()));
  }
}

}  // namespace

QuestionSet needle_questions(const std::string& path, const NeedleForm& form, std::vector<int64_t> stop_ids) {
  const bool is_mirror = path.ends_with(".h5");
  const auto samples =
      std::make_shared<const Samples>(is_mirror ? read_needle_mirror(path, form.tokens) : read_needles(path));
  std::vector<std::string> keys;
  int64_t longest = 0;
  for (const NeedleSample& sample : *samples) {
    keys.insert(keys.end(), sample.answers.begin(), sample.answers.end());
    longest = std::max<int64_t>(longest, std::ssize(form.tokens.encode(answer_text(sample))));
  }
  const auto needles = std::make_shared<const NeedleSet>(
      NeedleSet{[samples](int64_t i) { return samples->at(static_cast<size_t>(i)); }, form,
                stops_of(form.tokens, std::move(stop_ids)), form_of(keys, path)});
  QuestionSet set = set_of(needles, std::filesystem::path(path).stem().string(), std::ssize(*samples), longest);
  set.language = samples->front().language == "ko" ? "ko" : "en";
  return set;
}

QuestionSet generated_needle_questions(const NeedleSpec& spec, const std::string& language, const NeedleForm& form,
                                       std::vector<int64_t> stop_ids) {
  const NeedleTexts& texts = own_needle_texts(language);
  const auto sample = [spec, &texts, tokens = form.tokens](int64_t i) {
    return make_needle_sample(spec, texts, tokens, NeedleSplit::test, i).sample;
  };
  const NeedleSample first = sample(0);
  const auto needles = std::make_shared<const NeedleSet>(
      NeedleSet{sample, form, stops_of(form.tokens, std::move(stop_ids)),
                spec.task == NeedleTask::vt ? key_form("letters", std::ssize(first.answers.front())) : spec.form});
  const std::string name =
      spec.task == NeedleTask::single ? name_of(spec.task) : str(name_of(spec.task), "-", spec.keys);
  return set_of(needles, name, -1, std::ssize(form.tokens.encode(answer_text(first))));
}

}  // namespace braid
