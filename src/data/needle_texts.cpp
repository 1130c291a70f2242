// SPDX-License-Identifier: Apache-2.0
#include "data/needle_texts.h"

#include <algorithm>
#include <fstream>
#include <iomanip>
#include <sstream>

#include "base/error.h"
#include "data/yaml_file.h"
#include "store/crc32c.h"

namespace braid {

namespace {

constexpr const char* english =
#include "needle_templates_english.inc"
    ;
constexpr const char* korean =
#include "needle_templates_korean.inc"
    ;

// A list of wordings: where it is kept, and which slots must stand in each of them.
struct ListField {
  const char* name;
  std::vector<std::string> NeedleTexts::*list;
  std::vector<std::string> slots;
};

const std::vector<ListField>& list_fields() {
  static const std::vector<ListField> fields = {
      {"instructions", &NeedleTexts::instructions, {}},
      {"needles", &NeedleTexts::needles, {"value"}},
      {"questions", &NeedleTexts::questions, {}},
      {"keyed_needles", &NeedleTexts::keyed_needles, {"label", "value"}},
      {"keyed_questions", &NeedleTexts::keyed_questions, {"label"}},
      {"many_needles", &NeedleTexts::many_needles, {"label", "value"}},
      {"many_questions", &NeedleTexts::many_questions, {"label"}},
      {"several_questions", &NeedleTexts::several_questions, {"labels"}},
      {"chain_starts", &NeedleTexts::chain_starts, {"name", "value"}},
      {"chain_links", &NeedleTexts::chain_links, {"name", "other"}},
      {"chain_questions", &NeedleTexts::chain_questions, {"value"}},
      {"key_distractors", &NeedleTexts::key_distractors, {"value"}},
      {"number_distractors", &NeedleTexts::number_distractors, {"number"}},
      {"labels", &NeedleTexts::labels, {}},
      {"fillers", &NeedleTexts::fillers, {}},
  };
  return fields;
}

WordLists word_lists(const YAML::Node& file, const std::string& path) {
  const YAML::Node map = file["words"];
  if (!map.IsDefined() || !map.IsMap())
    yaml::refuse(path, file.Mark(), "field words: expected lists of phrases by name");
  WordLists words;
  for (const auto& entry : map) {
    const std::string name = entry.first.Scalar();
    words[name] = yaml::list_field(map, path, "words", name);
  }
  return words;
}

void require_complete(const NeedleTexts& texts, const std::string& path) {
  for (const ListField& field : list_fields()) {
    for (const std::string& frame : texts.*field.list) {
      const std::string where = str(path, ": ", field.name);
      require_slots(frame, texts.words, field.slots, where);
      const std::vector<std::string> slots = slots_of(frame);
      for (const std::string& slot : field.slots) {
        if (std::count(slots.begin(), slots.end(), slot) != 1)
          throw UsageError(str(where, ": '", frame, "': expected {", slot, "} once"));
      }
    }
  }
}

NeedleTexts parse(const std::string& text, const std::string& path) {
  const YAML::Node file = yaml::load_text(text, path);
  const std::string what = "the file";
  std::vector<std::string> known = {"name", "language", "between", "before_last", "words"};
  for (const ListField& field : list_fields()) known.push_back(field.name);
  yaml::require_fields(file, path, what, known);
  NeedleTexts texts;
  texts.name = yaml::text_field(file, path, what, "name");
  texts.language = yaml::text_field(file, path, what, "language");
  texts.between = yaml::text_field(file, path, what, "between");
  texts.before_last = yaml::text_field(file, path, what, "before_last");
  for (const ListField& field : list_fields()) texts.*field.list = yaml::list_field(file, path, what, field.name);
  texts.words = word_lists(file, path);
  texts.digest = crc32c(text.data(), text.size());
  require_complete(texts, path);
  return texts;
}

}  // namespace

const NeedleTexts& own_needle_texts(const std::string& language) {
  static const NeedleTexts en = parse(english, "english.yaml"), ko = parse(korean, "korean.yaml");
  if (language == "en") return en;
  if (language == "ko") return ko;
  throw UsageError(str("--language ", language, ": expected en or ko"));
}

NeedleTexts read_needle_texts(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw UsageError(str(path, ": cannot be read"));
  std::ostringstream text;
  text << file.rdbuf();
  return parse(text.str(), path);
}

std::vector<std::string> part_of(const std::vector<std::string>& list, WordingPart part) {
  if (part == WordingPart::all || list.size() < 2) return list;
  const auto border = list.begin() + std::ptrdiff_t(std::min((list.size() * 3 + 3) / 4, list.size() - 1));
  return part == WordingPart::first ? std::vector(list.begin(), border) : std::vector(border, list.end());
}

NeedleTexts part_of(NeedleTexts texts, WordingPart part) {
  texts.part = part;
  for (const ListField& field : list_fields()) {
    if (field.list != &NeedleTexts::labels) texts.*field.list = part_of(texts.*field.list, part);
  }
  return texts;
}

std::string id_of(const NeedleTexts& texts) {
  std::ostringstream out;
  out << texts.name << ' ' << std::hex << std::setw(8) << std::setfill('0') << texts.digest;
  if (texts.part != WordingPart::all) out << (texts.part == WordingPart::first ? " first" : " rest");
  return out.str();
}

}  // namespace braid
