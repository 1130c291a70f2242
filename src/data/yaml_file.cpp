// SPDX-License-Identifier: Apache-2.0
#include "data/yaml_file.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "text/utf8.h"

namespace braid::yaml {

namespace {

std::string joined(const std::vector<std::string>& fields) {
  std::string text;
  for (const std::string& field : fields) text += (text.empty() ? "" : ", ") + field;
  return text;
}

// yaml-cpp would put another character in the place of what is no UTF-8.
void require_utf8(const std::string& text, const std::string& path) {
  std::istringstream lines(text);
  std::string line;
  for (int64_t number = 1; std::getline(lines, line); ++number) {
    if (!is_valid_utf8(line)) throw UsageError(str(path, ":", number, ": expected UTF-8"));
  }
}

YAML::Node required(const YAML::Node& map, const std::string& path, const std::string& what, const std::string& name) {
  const YAML::Node value = map[name];
  if (!value.IsDefined()) refuse(path, map.Mark(), str(what, ": field ", name, " is missing"));
  return value;
}

}  // namespace

void refuse(const std::string& path, const YAML::Mark& mark, const std::string& message) {
  throw UsageError(mark.is_null() ? str(path, ": ", message) : str(path, ":", mark.line + 1, ": ", message));
}

YAML::Node load_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw UsageError(str(path, ": cannot be read"));
  std::ostringstream text;
  text << file.rdbuf();
  return load_text(text.str(), path);
}

YAML::Node load_text(const std::string& text, const std::string& path) {
  require_utf8(text, path);
  try {
    return YAML::Load(text);
  } catch (const YAML::Exception& problem) {
    refuse(path, problem.mark, str("expected YAML: ", problem.msg));
  }
}

void require_fields(const YAML::Node& map, const std::string& path, const std::string& what,
                    const std::vector<std::string>& known) {
  if (!map.IsMap()) refuse(path, map.Mark(), str(what, ": expected ", joined(known)));
  std::vector<std::string> found;
  for (const auto& entry : map) {
    const std::string name = entry.first.IsScalar() ? entry.first.Scalar() : "";
    const bool is_known = std::find(known.begin(), known.end(), name) != known.end();
    if (!is_known)
      refuse(path, entry.first.Mark(), str("unknown field '", name, "' of ", what, "; expected ", joined(known)));
    const bool twice = std::find(found.begin(), found.end(), name) != found.end();
    if (twice) refuse(path, entry.first.Mark(), str("field ", name, " of ", what, " is given twice"));
    found.push_back(name);
  }
}

std::string text_field(const YAML::Node& map, const std::string& path, const std::string& what,
                       const std::string& name) {
  const YAML::Node value = required(map, path, what, name);
  if (!value.IsScalar()) refuse(path, value.Mark(), str("field ", name, " of ", what, ": expected a text"));
  if (value.Scalar().empty())
    refuse(path, value.Mark(), str("field ", name, " of ", what, ": expected a text that is not empty"));
  return value.Scalar();
}

std::vector<std::string> list_field(const YAML::Node& map, const std::string& path, const std::string& what,
                                    const std::string& name) {
  const YAML::Node list = required(map, path, what, name);
  if (!list.IsSequence() || list.size() == 0)
    refuse(path, list.Mark(), str("field ", name, " of ", what, ": expected a list of texts"));
  std::vector<std::string> texts;
  for (const YAML::Node& text : list) {
    if (!text.IsScalar() || text.Scalar().empty())
      refuse(path, text.Mark(), str("field ", name, " of ", what, ": expected texts that are not empty"));
    texts.push_back(text.Scalar());
  }
  return texts;
}

}  // namespace braid::yaml
