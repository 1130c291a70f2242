// SPDX-License-Identifier: Apache-2.0
#include "experiments/engram_demo.h"

#include <cstdio>

#include "base/error.h"
#include "text/utf8.h"

namespace braid {

namespace {

constexpr size_t most_characters = 60;

// Line feeds and tabs as \n and \t; what is beyond the limit as an ellipsis.
std::string in_one_line(const std::string& text) {
  std::string line;
  size_t at = 0;
  for (size_t characters = 0; at < text.size() && characters < most_characters; ++characters) {
    const size_t begin = at;
    const char32_t point = next_code_point(text, at);
    if (point == '\n' || point == '\t' || point == '\r') {
      line += point == '\n' ? "\\n" : point == '\t' ? "\\t" : "\\r";
    } else {
      line.append(text, begin, at - begin);
    }
  }
  return at < text.size() ? line + "…" : line;
}

std::string answer_line(const char* name, const EngramAnswer& answer, const std::string& expected) {
  char time[32];
  std::snprintf(time, sizeof time, "%7.1f ms", answer.prefill_ms + answer.decode_ms);
  const char* mark = prefix_match(answer.text, expected) ? "right" : "wrong";
  return str("  ", name, time, "  ", mark, "  ", in_one_line(answer.text), "\n");
}

Conversation messages_of(const DemoItem& item) { return {{"user", item.prompt}, {"assistant", item.expected}}; }

}  // namespace

std::vector<DemoItem> demo_items(bool quick) {
  const std::vector<DemoItem> all = {
      {"code", "names.sort(key=", "str.lower)"},
      {"code", "config = json.load(", "f)"},
      {"code", "largest = max(scores, key=", "scores.get)"},
      {"fact", "Q: What is the chemical symbol of gold?\nA:", " Au"},
      {"fact", "Q: How many bytes are in one KiB?\nA:", " 1024"},
      {"fact", "Q: How many hours are in one week?\nA:", " 168"},
      {"format", "Roman numeral: 14 ->", " XIV"},
      {"format", "Hexadecimal: 255 ->", " ff"},
      {"fix", "Fix: if a =< b:", " if a <= b:"},
      {"fix", "Fix: items.appned(x)", " items.append(x)"}};
  if (!quick) return all;
  return {all[0], all[3], all[6], all[8]};
}

std::vector<DemoAnswer> run_demo(AdaptedModel& loaded, const EngramAsk& ask, bool quick) {
  std::vector<DemoAnswer> answers;
  for (const DemoItem& item : demo_items(quick)) answers.push_back({item, {}, {}});
  for (const bool tuned : {false, true}) {
    loaded.set_enabled(tuned);
    answer_one(*loaded.model, messages_of(answers.front().item), ask);
    for (DemoAnswer& answer : answers) (tuned ? answer.tuned : answer.base) = answer_one(*loaded.model, messages_of(answer.item), ask);
  }
  return answers;
}

std::string demo_text(const std::vector<DemoAnswer>& answers) {
  std::string text;
  for (const DemoAnswer& a : answers) {
    text += str(a.item.what, ": ", in_one_line(a.item.prompt), "\n  expected  ", in_one_line(a.item.expected), "\n");
    text += answer_line("base ", a.base, a.item.expected) + answer_line("tuned", a.tuned, a.item.expected);
  }
  return text;
}

}  // namespace braid
