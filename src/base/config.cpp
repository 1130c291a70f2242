// SPDX-License-Identifier: Apache-2.0
// Reading: a parsed TOML document into described structs.
#include "base/config.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <toml++/toml.h>

#include "base/config_visitor.h"
#include "base/error.h"
#include "base/toml_text.h"

namespace braid {

struct ConfigDocument::State {
  std::string name;  // the file
  toml::table root;  // each node knows its origin: the file and line, or "--set key=value"
};

namespace {

constexpr std::string_view override_prefix = "--set ";

std::string origin(const toml::node& node) {
  const toml::source_region& source = node.source();
  const std::string path = source.path ? *source.path : "";
  return path.starts_with(override_prefix) ? one_line(path) : str(path, ":", source.begin.line);
}

std::string kind_of(const toml::node& node) {
  if (const auto* text = node.as_string()) return str("string \"", one_line(text->get()), "\"");
  if (const auto* number = node.as_integer()) return str("integer ", number->get());
  if (const auto* number = node.as_floating_point()) return str("number ", toml_text(number->get()));
  if (const auto* flag = node.as_boolean()) return str("boolean ", toml_text(flag->get()));
  if (node.is_table()) return "a table";
  if (node.is_array()) return "an array";
  return "a date or time";
}

// A file that cannot be opened has no line.
std::string parse_problem(const toml::parse_error& problem, const std::string& name) {
  const auto line = problem.source().begin.line;
  return str(name, line ? str(":", line) : "", ": ", one_line(std::string(problem.description())));
}

class Reader final : public ConfigVisitor {
 public:
  explicit Reader(const toml::table& root) : root_(root) {}

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
    fail(key, str("expected one of ", list, ", found \"", one_line(field), "\""));
  }

  // Every key of the document that nothing described.
  void check_unknown() const { check_unknown(root_, ""); }

 protected:
  void enter(const std::string& dotted_name, std::string_view) override {
    known_.insert(dotted_name);
    const toml::node* node = find(dotted_name);
    if (node && !node->is_table()) {
      throw UsageError(str(origin(*node), ": ", dotted_name, ": expected a table, found ", kind_of(*node)));
    }
  }

 private:
  const toml::node* find(const std::string& dotted_name) const { return root_.at_path(dotted_name).node(); }

  [[noreturn]] void fail(std::string_view key, const std::string& problem) const {
    const std::string name = dotted(key);
    throw UsageError(str(origin(*find(name)), ": ", name, ": ", problem));
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

  // NaN passes only where no range is asked for.
  template <class T>
  void check_range(std::string_view key, T field, T min, T max) const {
    using Limits = std::numeric_limits<T>;
    const bool from = min != (Limits::has_infinity ? -Limits::infinity() : Limits::min());
    const bool to = max != (Limits::has_infinity ? Limits::infinity() : Limits::max());
    if ((field >= min && field <= max) || (!from && !to)) return;
    const std::string range = from && to ? str("a value from ", toml_text(min), " to ", toml_text(max))
                              : from     ? str("at least ", toml_text(min))
                                         : str("at most ", toml_text(max));
    fail(key, str("expected ", range, ", found ", toml_text(field)));
  }

  void check_unknown(const toml::table& table, const std::string& prefix) const {
    for (const auto& [key, node] : table) {
      const std::string name = prefix + toml_key(std::string(key.str()));  // the key "a.b" is not b in a
      if (!known_.count(name)) {
        const std::string nearest = nearest_name(name, {known_.begin(), known_.end()});
        throw UsageError(str(origin(node), ": unknown key ", name,
                             nearest.empty() ? "" : "; nearest known key: " + nearest));
      }
      if (const toml::table* inner = node.as_table()) check_unknown(*inner, name + ".");
    }
  }

  const toml::table& root_;
  std::set<std::string> known_;
};

}  // namespace

ConfigDocument::ConfigDocument(std::unique_ptr<State> state) : state_(std::move(state)) {}
ConfigDocument::ConfigDocument(ConfigDocument&&) noexcept = default;
ConfigDocument& ConfigDocument::operator=(ConfigDocument&&) noexcept = default;
ConfigDocument::~ConfigDocument() = default;

ConfigDocument ConfigDocument::from_file(const std::string& path) {
  std::error_code problem;
  const std::filesystem::file_status status = std::filesystem::status(path, problem);
  const bool missing = status.type() == std::filesystem::file_type::not_found;
  if (missing) throw UsageError(str(path, ": no such configuration file"));
  if (problem) throw UsageError(str(path, ": expected a TOML file: ", problem.message()));
  if (is_directory(status)) throw UsageError(str(path, ": expected a TOML file, found a folder"));
  try {
    return ConfigDocument(std::unique_ptr<State>(new State{path, toml::parse_file(path)}));
  } catch (const toml::parse_error& error) {
    throw UsageError(parse_problem(error, path));
  }
}

ConfigDocument ConfigDocument::from_text(const std::string& text, const std::string& name) {
  try {
    return ConfigDocument(std::unique_ptr<State>(new State{name, toml::parse(text, name)}));
  } catch (const toml::parse_error& problem) {
    throw UsageError(parse_problem(problem, name));
  }
}

namespace {

bool is_toml_value(const std::string& text) {
  try {
    return toml::parse("value = " + text).size() == 1;  // a line break in it must not set a second key
  } catch (const toml::parse_error&) {
    return false;
  }
}

// Moves: a copied node forgets its origin.
void merge(toml::table& into, toml::table&& from) {
  for (auto&& [key, node] : from) {
    toml::table* inner = into[key].as_table();
    if (inner && node.is_table()) {
      merge(*inner, std::move(*node.as_table()));
    } else {
      into.insert_or_assign(key, std::move(node));
    }
  }
}

}  // namespace

// A value that is not TOML (mhc, runs/demo) is taken as a string.
void ConfigDocument::override_with(const std::string& assignment) {
  const std::string name = std::string(override_prefix) + assignment;
  const size_t equals = assignment.find('=');
  if (equals == 0 || equals == std::string::npos) {
    throw UsageError(one_line(name) + ": expected key=value, as in train.steps=5");
  }
  const std::string key = assignment.substr(0, equals), value = assignment.substr(equals + 1);
  try {
    merge(state_->root, toml::parse(key + " = " + (is_toml_value(value) ? value : toml_text(value)), name));
  } catch (const toml::parse_error& problem) {
    throw UsageError(one_line(str(name, ": ", problem.description())));
  }
}

bool ConfigDocument::contains(const std::string& dotted_key) const { return bool(state_->root.at_path(dotted_key)); }

std::string ConfigDocument::where(const std::string& dotted_key) const {
  const toml::node* node = state_->root.at_path(dotted_key).node();
  return node ? origin(*node) : state_->name;
}

void ConfigDocument::read(const std::function<void(ConfigSection&)>& describe) const {
  Reader reader(state_->root);
  describe(reader);
  reader.check_unknown();
}

}  // namespace braid
