// SPDX-License-Identifier: Apache-2.0
#include "data/pattern_files.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/error.h"
#include "text/jinja_unicode.h"

namespace braid {

namespace fs = std::filesystem;

namespace {

using Fields = std::vector<std::string>;

[[noreturn]] void refuse(const std::string& path, const YAML::Mark& mark, const std::string& message) {
  throw UsageError(mark.is_null() ? str(path, ": ", message) : str(path, ":", mark.line + 1, ": ", message));
}

std::string joined(const Fields& fields) {
  std::string text;
  for (const std::string& field : fields) text += (text.empty() ? "" : ", ") + field;
  return text;
}

void require_fields(const YAML::Node& map, const std::string& path, const std::string& what, const Fields& known) {
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
  const YAML::Node value = map[name];
  if (!value.IsDefined()) refuse(path, map.Mark(), str(what, ": field ", name, " is missing"));
  if (!value.IsScalar()) refuse(path, value.Mark(), str("field ", name, " of ", what, ": expected a text"));
  if (value.Scalar().empty())
    refuse(path, value.Mark(), str("field ", name, " of ", what, ": expected a text that is not empty"));
  return value.Scalar();
}

Pattern read_pattern(const YAML::Node& node, const fs::path& path) {
  const std::string what = "an example";
  require_fields(node, path.string(), what, {"input", "output", "category"});
  const auto field = [&](const char* name) { return text_field(node, path.string(), what, name); };
  return {field("input"), field("output"), field("category"), path.filename().string()};
}

// yaml-cpp would put another character in the place of what is no UTF-8.
std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw UsageError(str(path.string(), ": cannot be read"));
  std::string text, line;
  for (int64_t number = 1; std::getline(file, line); ++number) {
    if (!jinja::is_valid_utf8(line)) throw UsageError(str(path.string(), ":", number, ": expected UTF-8"));
    text += line + "\n";
  }
  return text;
}

YAML::Node load(const fs::path& path) {
  try {
    return YAML::Load(read_text(path));
  } catch (const YAML::Exception& problem) {
    refuse(path.string(), problem.mark, str("expected YAML: ", problem.msg));
  }
}

// Where each input stands, to name both places of one that comes twice.
using Places = std::map<std::string, std::string>;

void append_patterns(const fs::path& path, std::vector<Pattern>& patterns, Places& places) {
  const YAML::Node file = load(path);
  const std::string name = path.string(), what = "the file";
  require_fields(file, name, what, {"name", "description", "version", "examples"});
  for (const char* field : {"name", "description", "version"}) text_field(file, name, what, field);
  const YAML::Node examples = file["examples"];
  if (!examples.IsDefined()) refuse(name, file.Mark(), "field examples is missing");
  if (!examples.IsSequence() || examples.size() == 0) {
    refuse(name, examples.Mark(), "field examples: expected a list of {input, output, category}");
  }
  for (const YAML::Node& example : examples) {
    Pattern pattern = read_pattern(example, path);
    const std::string here = str(name, ":", example.Mark().line + 1);
    const auto [place, is_new] = places.emplace(pattern.input, here);
    if (!is_new) refuse(name, example.Mark(), str("field input: the same text as at ", place->second));
    patterns.push_back(std::move(pattern));
  }
}

std::vector<fs::path> list_files(const std::string& folder) {
  if (!fs::is_directory(folder)) throw UsageError(str(folder, ": no such folder of pattern files"));
  std::vector<fs::path> files;
  std::error_code problem;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, problem)) {
    if (entry.path().extension() == ".yaml") files.push_back(entry.path());
  }
  if (problem) throw UsageError(str(folder, ": cannot be read: ", problem.message()));
  if (files.empty()) throw UsageError(str(folder, ": holds no pattern files (*.yaml)"));
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

std::vector<Pattern> read_patterns(const std::string& folder) {
  std::vector<Pattern> patterns;
  Places places;
  for (const fs::path& file : list_files(folder)) append_patterns(file, patterns, places);
  return patterns;
}

}  // namespace braid
