// SPDX-License-Identifier: Apache-2.0
#include "data/pattern_files.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "data/yaml_file.h"

namespace braid {

namespace fs = std::filesystem;

namespace {

Pattern read_pattern(const YAML::Node& node, const fs::path& path) {
  const std::string what = "an example";
  yaml::require_fields(node, path.string(), what, {"input", "output", "category"});
  const auto field = [&](const char* name) { return yaml::text_field(node, path.string(), what, name); };
  return {field("input"), field("output"), field("category"), path.filename().string()};
}

// Where each input stands, to name both places of one that comes twice.
using Places = std::map<std::string, std::string>;

void append_patterns(const fs::path& path, std::vector<Pattern>& patterns, Places& places) {
  const YAML::Node file = yaml::load_file(path.string());
  const std::string name = path.string(), what = "the file";
  yaml::require_fields(file, name, what, {"name", "description", "version", "examples"});
  for (const char* field : {"name", "description", "version"}) yaml::text_field(file, name, what, field);
  const YAML::Node examples = file["examples"];
  if (!examples.IsDefined()) yaml::refuse(name, file.Mark(), "field examples is missing");
  if (!examples.IsSequence() || examples.size() == 0) {
    yaml::refuse(name, examples.Mark(), "field examples: expected a list of {input, output, category}");
  }
  for (const YAML::Node& example : examples) {
    Pattern pattern = read_pattern(example, path);
    const std::string here = str(name, ":", example.Mark().line + 1);
    const auto [place, is_new] = places.emplace(pattern.input, here);
    if (!is_new) yaml::refuse(name, example.Mark(), str("field input: the same text as at ", place->second));
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
