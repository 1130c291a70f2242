// SPDX-License-Identifier: Apache-2.0
// TOML configuration into typed structs. A struct describes its fields once, in `void describe(ConfigSection&)`; that
// one description reads a file, applies --set overrides, prints the resolved configuration and names the nearest known
// key when a key is unknown. Every error is a UsageError with file, line, key and what was expected.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace braid {

// What a struct's describe() talks to. Each call declares one key of the current table; the value in the reference is
// the default, and is replaced when the document has the key.
class ConfigSection {
 public:
  virtual ~ConfigSection() = default;

  virtual void value(std::string_view key, bool& field, std::string_view help) = 0;
  virtual void value(std::string_view key, int64_t& field, std::string_view help,
                     int64_t min = std::numeric_limits<int64_t>::min(),
                     int64_t max = std::numeric_limits<int64_t>::max()) = 0;
  virtual void value(std::string_view key, double& field, std::string_view help,
                     double min = -std::numeric_limits<double>::infinity(),
                     double max = std::numeric_limits<double>::infinity()) = 0;
  virtual void value(std::string_view key, std::string& field, std::string_view help) = 0;
  virtual void value(std::string_view key, std::vector<int64_t>& field, std::string_view help) = 0;
  virtual void value(std::string_view key, std::vector<double>& field, std::string_view help) = 0;
  virtual void value(std::string_view key, std::vector<std::string>& field, std::string_view help) = 0;
  // A string that must be one of `options`.
  virtual void choice(std::string_view key, std::string& field, const std::vector<std::string>& options,
                      std::string_view help) = 0;
  // A sub-table, described by the callable.
  virtual void table(std::string_view key, std::string_view help,
                     const std::function<void(ConfigSection&)>& describe) = 0;

  template <class Struct>
  void table(std::string_view key, Struct& fields, std::string_view help) {
    table(key, help, [&](ConfigSection& section) { fields.describe(section); });
  }
};

// A parsed TOML file with overrides on top.
class ConfigDocument {
 public:
  static ConfigDocument from_file(const std::string& path);                              // UsageError
  static ConfigDocument from_text(const std::string& text, const std::string& name);    // UsageError
  ConfigDocument(ConfigDocument&&) noexcept;
  ConfigDocument& operator=(ConfigDocument&&) noexcept;
  ~ConfigDocument();

  // `assignment` is "key.sub=value"; the value is TOML, and a bare word that is not TOML is taken as a string.
  void override_with(const std::string& assignment);  // UsageError

  // True when the top-level or dotted key is present (a file with [sweep] is a sweep).
  bool contains(const std::string& dotted_key) const;

  // Fills the struct; unknown keys, wrong types and values outside their range are UsageErrors.
  template <class Struct>
  void read_into(Struct& fields) const {
    read([&](ConfigSection& section) { fields.describe(section); });
  }
  void read(const std::function<void(ConfigSection&)>& describe) const;

  // "file.toml:12" of a key for errors found after reading (heads that do not divide), or the override it came from.
  std::string where(const std::string& dotted_key) const;

 private:
  struct State;
  explicit ConfigDocument(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// The struct as TOML, every key with its value, in described order; parses back to the same struct.
std::string config_to_toml(const std::function<void(ConfigSection&)>& describe);
template <class Struct>
std::string to_toml(Struct& fields) {
  return config_to_toml([&](ConfigSection& section) { fields.describe(section); });
}

// What a description says of one key, or of a table (its type is then ""). A help text may end in its unit: "… [samples]".
struct ConfigKey {
  std::string name;   // dotted: "train.steps"
  std::string value;  // as TOML writes it: the default, where nothing was read
  std::string type;   // "integer >= 1", "fp32 | bf16"
  std::string unit;   // "" without one
  std::string help;
  bool is_table() const { return type.empty(); }
};
std::vector<ConfigKey> config_keys(const std::function<void(ConfigSection&)>& describe);

// A line for every key: dotted name, default, type, help. What `braid config --keys` prints.
std::string config_reference(const std::function<void(ConfigSection&)>& describe);

// The nearest of `known` by edit distance, or "" when none is near. Used for keys, subcommands and options.
std::string nearest_name(const std::string& name, const std::vector<std::string>& known);

}  // namespace braid
