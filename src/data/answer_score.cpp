// SPDX-License-Identifier: Apache-2.0
#include "data/answer_score.h"

#include <algorithm>
#include <set>

#include "text/jinja_unicode.h"
#include "text/utf8.h"

namespace braid {

namespace {

bool is_key_character(char32_t point) {
  return (point >= 'A' && point <= 'Z') || (point >= 'a' && point <= 'z') || (point >= '0' && point <= '9');
}

// ASCII's, Latin-1's, general punctuation, CJK symbols and full-width forms; the mark a broken byte becomes.
bool is_punctuation(char32_t point) {
  if (point < 0x80) return point > 0x20 && point != 0x7F && !is_key_character(point);
  return (point >= 0xA1 && point <= 0xBF) || (point >= 0x2010 && point <= 0x205E) ||
         (point >= 0x3001 && point <= 0x301F) || (point >= 0xFF01 && point <= 0xFF0F) ||
         (point >= 0xFF1A && point <= 0xFF20) || point == 0xFFFD;
}

// What Korean attaches to a noun: particles, and the copula with its endings.
const std::set<std::string>& korean_endings() {
  static const std::set<std::string> endings = {
      "은",   "는",     "이",     "가",       "을",   "를",     "의",       "와",       "과",         "로",
      "으로", "도",     "만",     "뿐",       "에",   "에서",   "까지",     "부터",     "처럼",       "보다",
      "라고", "이라고", "라는",   "이라는",   "라",   "이라",   "란",       "이란",     "요",         "이요",
      "다",   "이다",   "입니다", "이에요",   "예요", "이예요", "에요",     "임",       "이고",       "고",
      "이며", "며",     "이니",   "니",       "인",   "였다",   "이었다",   "였습니다", "이었습니다", "이야",
      "야",   "네요",   "이네요", "입니다만", "인데", "인데요", "뿐입니다", "이라고요", "라고요",     "로서",
  };
  return endings;
}

std::vector<std::string> words_of(const std::string& answer) {
  std::vector<std::string> words;
  std::string word;
  for (const std::string& point : jinja::split_points(repair_utf8(answer))) {
    size_t at = 0;
    if (jinja::is_space(next_code_point(point, at))) {
      if (!word.empty()) words.push_back(std::exchange(word, ""));
    } else {
      word += point;
    }
  }
  if (!word.empty()) words.push_back(word);
  return words;
}

// A word without punctuation around it, and without an ending that follows letters or digits.
std::string bare(const std::string& word) {
  std::vector<char32_t> points = jinja::code_points(word);
  const auto strip_end = [&] {
    while (!points.empty() && is_punctuation(points.back())) points.pop_back();
  };
  strip_end();
  points.erase(points.begin(), std::find_if_not(points.begin(), points.end(), is_punctuation));
  const auto end = std::find_if_not(points.begin(), points.end(), is_key_character);
  if (end == points.begin()) {
    std::string text;
    for (const char32_t point : points) append_code_point(text, point);
    return text;
  }
  std::string tail;
  for (auto at = std::find_if_not(end, points.end(), is_punctuation); at != points.end(); ++at)
    append_code_point(tail, *at);
  if (korean_endings().contains(tail)) points.erase(end, points.end());
  std::string text;
  for (const char32_t point : points) append_code_point(text, point);
  return text;
}

}  // namespace

std::vector<std::string> runs_of(const std::string& text) {
  std::vector<std::string> runs;
  std::string run;
  for (const char c : text + " ") {
    if (is_key_character(static_cast<unsigned char>(c))) {
      run += c;
    } else if (!run.empty()) {
      runs.push_back(std::exchange(run, ""));
    }
  }
  return runs;
}

namespace {

bool contains_word(const std::string& text, const std::string& word) {
  const std::vector<std::string> runs = runs_of(text);
  return std::any_of(runs.begin(), runs.end(), [&](const std::string& run) {
    return std::equal(run.begin(), run.end(), word.begin(), word.end(), [](char a, char b) {
      return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b));
    });
  });
}

// A word of the text that stands there in other letters: capitals of a heading, no key.
bool is_a_word_in_capitals(const std::string& run, const NeedleSample& sample) {
  if (run.find_first_of("0123456789") != std::string::npos || occurrences(sample.context, run) > 0) return false;
  return contains_word(sample.context, run) || contains_word(sample.question, run) ||
         contains_word(sample.instruction, run);
}

double share_right(const std::vector<std::string>& words, const std::vector<std::string>& keys) {
  size_t right = 0, all = 0;
  for (size_t i = 0; i < keys.size(); ++i) {
    const std::string& word = i < words.size() ? words[i] : "";
    all += keys[i].size();
    for (size_t c = 0; c < std::min(word.size(), keys[i].size()); ++c) right += word[c] == keys[i][c];
  }
  return all > 0 ? double(right) / double(all) : 0;
}

bool asked_is(const NeedleSample& sample, const std::string& key) {
  return std::find(sample.answers.begin(), sample.answers.end(), key) != sample.answers.end();
}

AnswerKind kind_of_wrong_key(const std::string& key, const NeedleSample& sample) {
  for (const Needle& needle : sample.needles) {
    if (key == needle.value || key == needle.key) return AnswerKind::other_key;
  }
  return occurrences(sample.context, key) > 0 ? AnswerKind::distractor : AnswerKind::hallucination;
}

}  // namespace

std::vector<std::string> first_words(const std::string& answer, size_t count) {
  std::vector<std::string> words;
  for (const std::string& word : words_of(answer)) {
    if (words.size() == count) break;
    const std::string key = bare(word);
    if (!key.empty()) words.push_back(key);
  }
  return words;
}

AnswerScore score_answer(const std::string& answer, const NeedleSample& sample) {
  std::vector<std::string> words = first_words(answer, sample.answers.size()), keys = sample.answers;
  AnswerScore score;
  score.characters = share_right(words, keys);
  for (const std::string& key : keys) score.recall += answer.find(key) != std::string::npos;
  score.contains = score.recall == double(keys.size());
  score.recall /= double(std::max<size_t>(keys.size(), 1));
  if (sample.task != "multiquery") {
    std::sort(words.begin(), words.end());
    std::sort(keys.begin(), keys.end());
  }
  score.strict = words == keys;
  return score;
}

const char* name_of(AnswerKind kind) {
  constexpr std::array<const char*, answer_kinds> names = {"right",         "late",    "other_key", "distractor",
                                                           "hallucination", "partial", "empty",     "malformed"};
  return names[static_cast<size_t>(kind)];
}

AnswerKind kind_of_answer(const std::string& answer, const NeedleSample& sample, const KeyForm& form) {
  const AnswerScore score = score_answer(answer, sample);
  if (score.strict) return AnswerKind::right;
  if (score.contains) return AnswerKind::late;
  if (first_words(answer, 1).empty()) return AnswerKind::empty;
  for (const std::string& run : runs_of(answer)) {
    if (form.fits(run) && !asked_is(sample, run) && !is_a_word_in_capitals(run, sample))
      return kind_of_wrong_key(run, sample);
  }
  return score.recall > 0 ? AnswerKind::partial : AnswerKind::malformed;
}

void AnswerTally::add(const AnswerScore& score, AnswerKind kind) {
  ++answers;
  ++kinds[static_cast<size_t>(kind)];
  strict += score.strict;
  contains += score.contains;
  recall += score.recall;
  characters += score.characters;
}

}  // namespace braid
