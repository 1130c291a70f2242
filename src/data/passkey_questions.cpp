// SPDX-License-Identifier: Apache-2.0
#include "data/passkey_questions.h"

#include <algorithm>

#include "base/error.h"

namespace braid {

using namespace passkey;

namespace {

using Tokens = std::vector<int64_t>;

bool is_digit(int64_t token) { return token >= 0 && token < digits; }
bool is_name(int64_t token) { return token >= first_word && token < vocabulary; }

// Runs of digits, and everything else by itself; the end left out.
std::vector<Tokens> parts_of(const Tokens& answer) {
  std::vector<Tokens> parts;
  bool in_run = false;
  for (const int64_t token : answer) {
    if (token == end) break;
    const bool full = in_run && parts.back().size() == key_digits;
    if (is_digit(token) && in_run && !full) {
      parts.back().push_back(token);
    } else {
      parts.push_back({token});
    }
    in_run = is_digit(token);
  }
  return parts;
}

bool stands_in(const Tokens& text, const Tokens& part) {
  return std::search(text.begin(), text.end(), part.begin(), part.end()) != text.end();
}

// A part that looks like what is asked for: five digits where values are, a name where names are.
bool fits(const Tokens& part, const Tokens& like) {
  if (is_digit(like.front())) return part.size() == key_digits && is_digit(part.front());
  return part.size() == 1 && is_name(part.front());
}

double share_right(const Tokens& answer, const Tokens& expected) {
  size_t right = 0;
  for (size_t i = 0; i < std::min(answer.size(), expected.size()); ++i) right += answer[i] == expected[i];
  return double(right) / double(expected.size());
}

AnswerScore score_of(const Tokens& answer, const Tokens& expected) {
  std::vector<Tokens> given = parts_of(answer), keys = parts_of(expected);
  AnswerScore score;
  score.characters = share_right(answer, expected);
  for (const Tokens& key : keys) score.recall += stands_in(answer, key);
  score.contains = score.recall == double(keys.size());
  score.recall /= double(keys.size());
  std::sort(given.begin(), given.end());
  std::sort(keys.begin(), keys.end());
  score.strict = given == keys && !answer.empty() && answer.back() == end;
  return score;
}

AnswerKind kind_of(const Tokens& answer, const AnswerScore& score, const Question& question, const PasskeyPlan& plan) {
  if (score.strict) return AnswerKind::right;
  if (score.contains) return AnswerKind::late;
  const std::vector<Tokens> given = parts_of(answer), keys = parts_of(plan.answer);
  if (given.empty()) return AnswerKind::empty;
  for (const Tokens& part : given) {
    if (!fits(part, keys.front()) || std::find(keys.begin(), keys.end(), part) != keys.end()) continue;
    for (const PasskeyNeedle& needle : plan.needles) {
      if (stands_in(needle.tokens, part)) return AnswerKind::other_key;
    }
    return stands_in(question.context, part) ? AnswerKind::distractor : AnswerKind::hallucination;
  }
  return score.recall > 0 ? AnswerKind::partial : AnswerKind::malformed;
}

Question question_of(const PasskeyTask& task, int64_t index) {
  const PasskeyShape& shape = task.shape();
  Question question;
  question.index = index;
  Tokens tokens(static_cast<size_t>(task.length())), targets(tokens.size());
  task.sample(index, tokens, targets);
  const PasskeyPlan plan = task.plan(index);
  question.context.assign(tokens.begin(), tokens.begin() + shape.context);
  question.question = plan.question;
  for (size_t i = 0; i < plan.asked; ++i) {
    const PasskeyNeedle& needle = plan.needles[i];
    question.asked.push_back({needle.start, needle.start + std::ssize(needle.tokens)});
  }
  const int64_t places = shape.context - std::ssize(plan.needles.front().tokens);
  question.depth = places > 0 ? double(plan.needles.front().start) / double(places) : 0;
  return question;
}

// The statement that begins at `at`, without its marks; nothing where none does.
Tokens statement_at(const Tokens& context, size_t at) {
  if (context[at] != mark && context[at] != chain) return {};
  const auto from = context.begin() + static_cast<std::ptrdiff_t>(at) + 1;
  const auto bound = context.begin() + std::min<std::ptrdiff_t>(std::ssize(context), std::ptrdiff_t(at) + 9);
  const auto last = std::find(from, bound, end);
  return last == bound ? Tokens() : Tokens(from, last);
}

// Knows the marks and nothing of the generator.
Tokens search(const Question& question) {
  Tokens found;
  Tokens wanted(question.question.begin() + 1, question.question.end());  // a name, digits, or nothing
  for (size_t t = 0; t < question.context.size(); ++t) {
    const Tokens said = statement_at(question.context, t);
    const bool chained = question.context[t] == chain;
    if (said.empty()) continue;
    if (chained && wanted == Tokens(said.begin() + 1, said.end())) {
      wanted = {said.front()};
      found.push_back(said.front());
    } else if (!chained && std::equal(wanted.begin(), wanted.end(), said.begin())) {
      found.insert(found.end(), said.begin() + std::ssize(wanted), said.end());
    }
  }
  found.push_back(end);
  return found;
}

}  // namespace

std::string passkey_text(const std::vector<int64_t>& tokens) {
  std::string text;
  int64_t run = 0;
  for (const int64_t id : tokens) {
    run = is_digit(id) ? run + 1 : 0;
    if (!text.empty() && (!is_digit(id) || run % key_digits == 1)) text += ' ';
    if (is_digit(id)) {
      text += static_cast<char>('0' + id);
    } else {
      text += id == end ? "END" : is_name(id) ? str("w", id - first_word) : str("<", id, ">");
    }
  }
  return text;
}

QuestionSet passkey_questions(const PasskeyShape& shape) {
  const auto task = std::make_shared<PasskeyTask>(shape);
  QuestionSet set;
  set.name = shape.has_names() ? str(name_of(shape.kind), "-", shape.keys) : "passkey";
  set.answer_tokens = std::max<int64_t>(16, task->answer_tokens());
  set.stop_ids = {end};
  set.question = [task](int64_t index) { return question_of(*task, index); };
  set.judge = [task](const Question& question, const Tokens& answer) {
    const PasskeyPlan plan = task->plan(question.index);
    Tokens expected = plan.answer;
    JudgedAnswer judged;
    judged.score = score_of(answer, expected);
    judged.kind = kind_of(answer, judged.score, question, plan);
    expected.push_back(end);
    judged.expected = passkey_text(expected);
    judged.answer = passkey_text(answer);
    return judged;
  };
  set.search = search;
  return set;
}

}  // namespace braid
