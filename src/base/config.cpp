// SPDX-License-Identifier: Apache-2.0
// Reading: a parsed TOML document into described structs.
#include "base/config.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <toml++/toml.h>

#include "base/config_visitor.h"
#include "base/error.h"

namespace braid {

struct ConfigDocument::State {
  std::string name;  // the file
  toml::table root;
  std::map<std::string, std::string> overridden;  // dotted key -> "--set key=value"
};

namespace {

std::string line_of(const std::string& name, const toml::node& node) {
  return str(name, ":", node.source().begin.line);
}

std::string kind_of(const toml::node& node) {
  if (const auto* text = node.as_string()) return str("string \"", text->get(), "\"");
  if (const auto* number = node.as_integer()) return str("integer ", number->get());
  if (const auto* number = node.as_floating_point()) return str("number ", number->get());
  if (const auto* flag = node.as_boolean()) return str("boolean ", flag->get() ? "true" : "false");
  if (node.is_table()) return "a table";
  if (node.is_array()) return "an array";
  return "a date or time";
}

std::string parse_problem(const toml::parse_error& problem, const std::string& name) {
  return str(name, ":", problem.source().begin.line, ": ", problem.description());
}

class Reader final : public ConfigVisitor {
 public:
  Reader(const toml::table& root, std::function<std::string(const std::string&, const toml::node&)> where)
      : root_(root), where_(std::move(where)) {}

  void value(std::string_view key, bool& field, std::string_view) override { read(key, field, "true or false"); }
  void value(std::string_view key, int64_t& field, std::string_view, int64_t min, int64_t max) override {
    if (read(key, field, "an integer")) check_range(key, field, min, max);
  }
  void value(std::string_view key, double& field, std::string_view, double min, double max) override {
    if (read(key, field, "a number")) check_range(key, field, min, max);
  }
  void value(std::string_view key, std::string& field, std::string_view) override { read(key, field, "a string"); }
  void value(std::string_view key, std::vector<int64_t>& field, std::string_view) override { read_list(key, field, "integers"); }
  void value(std::string_view key, std::vector<double>& field, std::string_view) override { read_list(key, field, "numbers"); }
  void value(std::string_view key, std::vector<std::string>& field, std::string_view) override {
    read_list(key, field, "strings");
  }
  void choice(std::string_view key, std::string& field, const std::vector<std::string>& options, std::string_view) override {
    if (!read(key, field, "a string") || std::find(options.begin(), options.end(), field) != options.end()) return;
    std::string list;
    for (const std::string& option : options) list += (list.empty() ? "" : ", ") + option;
    fail(key, str("expected one of ", list, ", found \"", field, "\""));
  }

  // Every key of the document that nothing described.
  void check_unknown() const { check_unknown(root_, ""); }

 protected:
  void enter(const std::string& dotted_name, std::string_view) override {
    known_.insert(dotted_name);
    const toml::node* node = find(dotted_name);
    if (node && !node->is_table()) {
      throw UsageError(str(where_(dotted_name, *node), ": ", dotted_name, ": expected a table, found ", kind_of(*node)));
    }
  }

 private:
  const toml::node* find(const std::string& dotted_name) const { return root_.at_path(dotted_name).node(); }

  [[noreturn]] void fail(std::string_view key, const std::string& problem) const {
    const std::string name = dotted(key);
    throw UsageError(str(where_(name, *find(name)), ": ", name, ": ", problem));
  }

  template <class T>
  static bool convert(const toml::node& node, T& out) {
    if constexpr (std::is_same_v<T, double>) {
      if (const auto* whole = node.as_integer()) return out = double(whole->get()), true;
    }
    if (const auto exact = node.value_exact<T>()) return out = *exact, true;
    return false;
  }

  template <class T>
  bool read(std::string_view key, T& field, const char* expected) {
    known_.insert(dotted(key));
    const toml::node* node = find(dotted(key));
    if (!node) return false;
    if (!convert(*node, field)) fail(key, str("expected ", expected, ", found ", kind_of(*node)));
    return true;
  }

  template <class T>
  void read_list(std::string_view key, std::vector<T>& field, const char* expected) {
    known_.insert(dotted(key));
    const toml::node* node = find(dotted(key));
    if (!node) return;
    const toml::array* list = node->as_array();
    if (!list) fail(key, str("expected an array of ", expected, ", found ", kind_of(*node)));
    field.clear();
    for (const toml::node& element : *list) {
      T item{};
      if (!convert(element, item)) fail(key, str("expected an array of ", expected, ", found ", kind_of(element), " in it"));
      field.push_back(std::move(item));
    }
  }

  template <class T>
  void check_range(std::string_view key, T field, T min, T max) const {
    if (field >= min && field <= max) return;
    const bool open = max == std::numeric_limits<T>::max() || max == std::numeric_limits<T>::infinity();
    fail(key, open ? str("expected at least ", min, ", found ", field)
                   : str("expected a value from ", min, " to ", max, ", found ", field));
  }

  void check_unknown(const toml::table& table, const std::string& prefix) const {
    for (const auto& [key, node] : table) {
      const std::string name = prefix + std::string(key.str());
      if (!known_.count(name)) {
        const std::string nearest = nearest_name(name, {known_.begin(), known_.end()});
        throw UsageError(str(where_(name, node), ": unknown key ", name,
                             nearest.empty() ? "" : "; nearest known key: " + nearest));
      }
      if (const toml::table* inner = node.as_table()) check_unknown(*inner, name + ".");
    }
  }

  const toml::table& root_;
  std::function<std::string(const std::string&, const toml::node&)> where_;
  std::set<std::string> known_;
};

}  // namespace

ConfigDocument::ConfigDocument(std::unique_ptr<State> state) : state_(std::move(state)) {}
ConfigDocument::ConfigDocument(ConfigDocument&&) noexcept = default;
ConfigDocument& ConfigDocument::operator=(ConfigDocument&&) noexcept = default;
ConfigDocument::~ConfigDocument() = default;

ConfigDocument ConfigDocument::from_file(const std::string& path) {
  if (!std::filesystem::exists(path)) throw UsageError(str(path, ": no such configuration file"));
  if (std::filesystem::is_directory(path)) throw UsageError(str(path, ": expected a TOML file, found a folder"));
  try {
    return ConfigDocument(std::unique_ptr<State>(new State{path, toml::parse_file(path), {}}));
  } catch (const toml::parse_error& problem) {
    throw UsageError(parse_problem(problem, path));
  }
}

ConfigDocument ConfigDocument::from_text(const std::string& text, const std::string& name) {
  try {
    return ConfigDocument(std::unique_ptr<State>(new State{name, toml::parse(text, name), {}}));
  } catch (const toml::parse_error& problem) {
    throw UsageError(parse_problem(problem, name));
  }
}

namespace {

// The value as TOML; a bare word (mhc, runs/demo) is taken as a string.
toml::table parse_assignment(const std::string& key, const std::string& value) {
  try {
    return toml::parse(key + " = " + value);
  } catch (const toml::parse_error&) {
    toml::table table;
    table.insert("value", value);
    std::ostringstream quoted;
    quoted << toml::node_view(table["value"]);
    return toml::parse(key + " = " + quoted.str());
  }
}

void merge(toml::table& into, const toml::table& from) {
  for (const auto& [key, node] : from) {
    toml::table* inner = into[key].as_table();
    if (inner && node.is_table()) {
      merge(*inner, *node.as_table());
    } else {
      into.insert_or_assign(key, node);
    }
  }
}

}  // namespace

void ConfigDocument::override_with(const std::string& assignment) {
  const size_t equals = assignment.find('=');
  if (equals == 0 || equals == std::string::npos) {
    throw UsageError(str("--set ", assignment, ": expected key=value, as in train.steps=5"));
  }
  const std::string key = assignment.substr(0, equals);
  try {
    merge(state_->root, parse_assignment(key, assignment.substr(equals + 1)));
  } catch (const toml::parse_error& problem) {
    throw UsageError(str("--set ", assignment, ": ", problem.description()));
  }
  state_->overridden[key] = "--set " + assignment;
}

bool ConfigDocument::contains(const std::string& dotted_key) const { return bool(state_->root.at_path(dotted_key)); }

std::string ConfigDocument::where(const std::string& dotted_key) const {
  const auto set = state_->overridden.find(dotted_key);
  if (set != state_->overridden.end()) return set->second;
  const toml::node* node = state_->root.at_path(dotted_key).node();
  return node ? line_of(state_->name, *node) : state_->name;
}

void ConfigDocument::read(const std::function<void(ConfigSection&)>& describe) const {
  Reader reader(state_->root, [this](const std::string& dotted, const toml::node&) { return where(dotted); });
  describe(reader);
  reader.check_unknown();
}

}  // namespace braid
