// SPDX-License-Identifier: Apache-2.0
#include "data/needle_grammar.h"

#include <algorithm>

#include "base/error.h"
#include "text/utf8.h"

namespace braid {

namespace {

constexpr char article_mark = '\x01';  // becomes "a" or "an" once the next word is known

// How a word ends when it is read aloud in Korean.
enum class Ending { vowel, rieul, consonant };

Ending ending_of(std::string_view text) {
  if (text.empty()) return Ending::vowel;
  size_t at = last_code_point_at(text);
  const char32_t last = next_code_point(text, at);
  if (last >= 0xAC00 && last <= 0xD7A3) {  // Hangul syllables are ordered by their 28 finals; ㄹ is the 8th
    const char32_t final = (last - 0xAC00) % 28;
    return final == 0 ? Ending::vowel : final == 8 ? Ending::rieul : Ending::consonant;
  }
  if (last < 0x80 && std::string_view("178LR").find(char(last)) != std::string_view::npos) return Ending::rieul;
  if (last < 0x80 && std::string_view("036MN").find(char(last)) != std::string_view::npos) return Ending::consonant;
  return Ending::vowel;
}

std::string particle(const std::string& slot, std::string_view before) {
  const size_t bar = slot.find('/');
  const std::string first = slot.substr(0, bar), second = slot.substr(bar + 1);
  const Ending ending = ending_of(before);
  const bool joins_rieul = first.starts_with("으로");
  return ending == Ending::vowel || (ending == Ending::rieul && joins_rieul) ? second : first;
}

// Calls text(part) and slot(name) along a frame.
template <class Text, class Slot>
void walk(std::string_view frame, const Text& text, const Slot& slot) {
  for (size_t at = 0; at < frame.size();) {
    const size_t open = std::min(frame.find('{', at), frame.size());
    text(frame.substr(at, open - at));
    if (open == frame.size()) return;
    const size_t close = frame.find('}', open);
    if (close == std::string_view::npos) throw UsageError(str("'", frame, "': { without }"));
    slot(std::string(frame.substr(open + 1, close - open - 1)));
    at = close + 1;
  }
}

void append_filled(std::string_view frame, const WordLists& words, const SlotValues& given, NeedleDraws& draws,
                   std::string& out) {
  walk(
      frame, [&](std::string_view text) { out += text; },
      [&](const std::string& slot) {
        if (slot == "a") {
          out += article_mark;
        } else if (slot.find('/') != std::string::npos) {
          out += particle(slot, out);
        } else if (const auto value = given.find(slot); value != given.end()) {
          out += value->second;
        } else {
          append_filled(draws.pick(words.at(slot)), words, given, draws, out);
        }
      });
}

std::string with_articles(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != article_mark) {
      out += text[i];
      continue;
    }
    const char next = i + 2 < text.size() ? text[i + 2] : 'x';
    out += std::string_view("aeiouAEIOU").find(next) == std::string_view::npos ? "a" : "an";
  }
  return out;
}

void require_slots(const std::string& frame, const WordLists& words, const std::vector<std::string>& given,
                   const std::string& where, std::vector<std::string>& path) {
  for (const std::string& slot : slots_of(frame)) {
    if (std::find(given.begin(), given.end(), slot) != given.end()) continue;
    if (std::find(path.begin(), path.end(), slot) != path.end())
      throw UsageError(str(where, ": words.", slot, " leads back to itself"));
    const auto list = words.find(slot);
    if (list == words.end()) throw UsageError(str(where, ": '", frame, "': there is no list words.", slot));
    path.push_back(slot);
    for (const std::string& phrase : list->second) require_slots(phrase, words, given, where, path);
    path.pop_back();
  }
}

}  // namespace

std::vector<std::string> slots_of(std::string_view frame) {
  std::vector<std::string> slots;
  walk(
      frame, [](std::string_view) {},
      [&](const std::string& slot) {
        if (slot != "a" && slot.find('/') == std::string::npos) slots.push_back(slot);
      });
  return slots;
}

void require_slots(const std::string& frame, const WordLists& words, const std::vector<std::string>& given,
                   const std::string& where) {
  std::vector<std::string> path;
  require_slots(frame, words, given, where, path);
}

std::string fill(const std::string& frame, const WordLists& words, const SlotValues& given, NeedleDraws& draws) {
  std::string text;
  append_filled(frame, words, given, draws, text);
  text = with_articles(text);
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 'a' + 'A');
  return text;
}

}  // namespace braid
