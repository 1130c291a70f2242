// SPDX-License-Identifier: Apache-2.0
// braid config: a configuration in full, or what its keys mean. Both come from the structs' own descriptions.
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <optional>
#include <sstream>

#include "base/error.h"
#include "cli/command.h"
#include "cli/options.h"

namespace braid {

namespace {

constexpr const char* config_examples = R"(
Examples:
  braid config configs/mhc/demo_mhc.toml --set train.steps=10   # in full, as a run would take it
  braid config --explain                                        # every key
  braid config --explain train.batch optim                      # one key, and one table
  braid config --explain configs/mhc/demo_mhc.toml              # every key, with this file's values
  braid config --keys | grep layers                             # every key on a line of its own

Exit codes: 0 done; 2 an unknown key, or a configuration that is wrong.
)";

constexpr size_t indent = 4;

// Words of the text in lines of at most `width` columns, each indented.
std::string wrapped(const std::string& text, size_t width) {
  std::istringstream words(text);
  std::string all, line(indent, ' ');
  for (std::string word; words >> word;) {
    if (line.size() > indent && line.size() + 1 + word.size() > width) {
      all += line + "\n";
      line.assign(indent, ' ');
    }
    line += (line.size() > indent ? " " : "") + word;
  }
  return all + line + "\n";
}

std::string explain_key(const ConfigKey& key, const std::optional<std::string>& set_to, size_t width) {
  std::string facts = str("default ", key.value, "; ", key.type);
  if (!key.unit.empty()) facts += "; unit: " + key.unit;
  return str(key.name, set_to ? " = " + *set_to : "", "\n", wrapped(facts, width), wrapped(key.help, width), "\n");
}

// "train.batch" is in "train".
bool belongs_to(const std::string& key, const std::string& name) { return key == name || key.starts_with(name + "."); }

bool is_known(const std::string& name, const std::vector<ConfigKey>& keys) {
  return std::any_of(keys.begin(), keys.end(), [&](const ConfigKey& key) { return key.name == name; });
}

[[noreturn]] void fail_unknown(const std::string& name, const std::vector<ConfigKey>& keys) {
  std::vector<std::string> names;
  for (const ConfigKey& key : keys) names.push_back(key.name);
  const std::string nearest = nearest_name(name, names);
  throw UsageError(str("braid config --explain: unknown key ", name,
                       nearest.empty() ? "; braid config --keys lists them all" : "; nearest known key: " + nearest));
}

std::vector<ConfigKey> keys_of(RunConfig config) {
  return config_keys([&](ConfigSection& section) { config.describe(section); });
}

// `names`: keys and tables to keep, none means all. `given`: the keys of a file, to show beside their defaults.
std::string explain(const Arguments& names, const std::vector<ConfigKey>* given) {
  const std::vector<ConfigKey> keys = keys_of({});
  const size_t width = text_width();
  std::string text;
  for (size_t i = 0; i < keys.size(); ++i) {
    const ConfigKey& key = keys[i];
    const auto wanted = [&](const std::string& name) { return belongs_to(key.name, name); };
    if (!names.empty() && std::none_of(names.begin(), names.end(), wanted)) continue;
    if (key.is_table()) {
      text += str("[", key.name, "]\n", wrapped(key.help, width), "\n");
    } else {
      text += explain_key(key, given ? std::optional((*given)[i].value) : std::nullopt, width);
    }
  }
  text.pop_back();  // the empty line after the last key
  return text;
}

struct ConfigRequest {
  Arguments words;
  CommonOptions common;  // of these only the file and --set
};

// Moves the one word that is a file to common.config_path; the others must be keys or tables.
void sort_words(ConfigRequest& request) {
  const std::vector<ConfigKey> keys = keys_of({});
  Arguments names;
  for (const std::string& word : request.words) {
    const bool is_file = word.ends_with(".toml") || std::filesystem::is_regular_file(word);
    if (is_known(word, keys)) {
      names.push_back(word);
    } else if (is_file && request.common.config_path.empty()) {
      request.common.config_path = word;
    } else {
      fail_unknown(word, keys);
    }
  }
  request.words = names;
}

RunConfig defaults_with(const Arguments& overrides) {
  ConfigDocument document = ConfigDocument::from_text("", "the defaults");
  for (const std::string& assignment : overrides) document.override_with(assignment);
  return read_run_config(document);
}

std::string explain_request(ConfigRequest request) {
  sort_words(request);
  const CommonOptions& common = request.common;
  if (common.config_path.empty() && common.overrides.empty()) return explain(request.words, nullptr);
  const bool from_file = !common.config_path.empty();
  const auto given = keys_of(from_file ? read_run_config(open_config(common)) : defaults_with(common.overrides));
  return explain(request.words, &given);
}

std::string resolve(ConfigRequest request) {
  if (request.words.empty()) throw UsageError("no configuration file given; see configs/ for complete ones");
  if (request.words.size() > 1) throw UsageError(str("unexpected argument '", request.words[1], "'"));
  request.common.config_path = request.words[0];
  RunConfig config = read_run_config(open_config(request.common));
  return to_toml(config);
}

std::string list_keys() {
  RunConfig config;
  return config_reference([&](ConfigSection& section) { config.describe(section); });
}

}  // namespace

int command_config(const Arguments& arguments) {
  cxxopts::Options options("braid config",
                           "Prints a configuration with every key and its value, or explains the keys.");
  options.add_options()("names", "", cxxopts::value<std::vector<std::string>>())(
      "set", "override one key of the file: --set train.steps=5 (repeatable)",
      cxxopts::value<std::vector<std::string>>(),
      "KEY=VALUE")("explain", "default, type and range, unit and meaning of the keys and tables named, else of all")(
      "keys", "the same of all keys, each on one line")("h,help", "this text");
  options.parse_positional({"names"});
  options.positional_help("CONFIG | --explain [KEY|TABLE|CONFIG...] | --keys");
  const auto use = [](const cxxopts::ParseResult& parsed) {
    ConfigRequest request;
    if (parsed.count("names")) request.words = parsed["names"].as<std::vector<std::string>>();
    if (parsed.count("set")) request.common.overrides = parsed["set"].as<std::vector<std::string>>();
    const bool explains = parsed.count("explain") > 0, lists = parsed.count("keys") > 0;
    std::cout << (explains ? explain_request(request) : lists ? list_keys() : resolve(request));
  };
  parse_arguments(options, arguments, use, config_examples);
  return exit_done;
}

}  // namespace braid
