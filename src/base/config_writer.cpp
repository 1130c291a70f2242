// SPDX-License-Identifier: Apache-2.0
// Printing: described structs as TOML, and the list of all keys.
#include <algorithm>
#include <limits>
#include <numeric>

#include "base/config_visitor.h"
#include "base/error.h"
#include "base/text_table.h"
#include "base/toml_text.h"

namespace braid {

namespace {

// "integer in [1, 100]", "number >= 0.0", "integer".
template <class T>
std::string type_text(const char* type, T min, T max) {
  using Limits = std::numeric_limits<T>;
  const bool from = min != (Limits::has_infinity ? -Limits::infinity() : Limits::min());
  const bool to = max != (Limits::has_infinity ? Limits::infinity() : Limits::max());
  if (from && to) return str(type, " in [", toml_text(min), ", ", toml_text(max), "]");
  if (from) return str(type, " >= ", toml_text(min));
  return to ? str(type, " <= ", toml_text(max)) : type;
}

// Both printers need each key's name, value as text, type and range.
class Lister : public ConfigVisitor {
 public:
  void value(std::string_view key, bool& field, std::string_view help) override { put(key, toml_text(field), "boolean", help); }
  void value(std::string_view key, int64_t& field, std::string_view help, int64_t min, int64_t max) override {
    put(key, toml_text(field), type_text("integer", min, max), help);
  }
  void value(std::string_view key, double& field, std::string_view help, double min, double max) override {
    put(key, toml_text(field), type_text("number", min, max), help);
  }
  void value(std::string_view key, std::string& field, std::string_view help) override { put(key, toml_text(field), "string", help); }
  void value(std::string_view key, std::vector<int64_t>& field, std::string_view help) override {
    put(key, toml_text(field), "integers", help);
  }
  void value(std::string_view key, std::vector<double>& field, std::string_view help) override {
    put(key, toml_text(field), "numbers", help);
  }
  void value(std::string_view key, std::vector<std::string>& field, std::string_view help) override {
    put(key, toml_text(field), "strings", help);
  }
  void choice(std::string_view key, std::string& field, const std::vector<std::string>& options, std::string_view help) override {
    std::string list;
    for (const std::string& option : options) list += (list.empty() ? "" : " | ") + option;
    put(key, toml_text(field), list, help);
  }

 protected:
  virtual void put(std::string_view key, const std::string& value, const std::string& type, std::string_view help) = 0;
};

// A key described after a sub-table still belongs to the outer table, which TOML cannot open again: each table collects
// its own keys.
class TomlWriter final : public Lister {
 public:
  std::string text() const {
    std::string all;
    for (const auto& [table, lines] : tables_) all += (all.empty() || lines.empty() ? "" : "\n") + lines;
    return all;
  }

 protected:
  void put(std::string_view key, const std::string& value, const std::string&, std::string_view) override {
    const std::string table = dotted("");
    const auto current = std::find_if(tables_.begin(), tables_.end(), [&](const auto& t) { return t.first == table; });
    current->second += std::string(key) + " = " + value + "\n";
  }
  void enter(const std::string& dotted_name, std::string_view) override {
    tables_.emplace_back(dotted_name + ".", "[" + dotted_name + "]\n");
  }

 private:
  std::vector<std::pair<std::string, std::string>> tables_ = {{"", ""}};  // "model." -> its lines
};

class KeyLister final : public Lister {
 public:
  std::vector<ConfigKey> keys;

 protected:
  void put(std::string_view key, const std::string& value, const std::string& type, std::string_view help) override {
    add(dotted(key), value, type, std::string(help));
  }
  void enter(const std::string& dotted_name, std::string_view help) override { add(dotted_name, "", "", std::string(help)); }

 private:
  // "depth [blocks]": the unit stands in the last brackets.
  void add(const std::string& name, const std::string& value, const std::string& type, const std::string& help) {
    const size_t open = help.ends_with(']') ? help.rfind(" [") : std::string::npos;
    if (open == std::string::npos) {
      keys.push_back({name, value, type, "", help});
    } else {
      keys.push_back({name, value, type, help.substr(open + 2, help.size() - open - 3), help.substr(0, open)});
    }
  }
};

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substitute = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
    }
  }
  return row.back();
}

std::string table_of(const std::string& dotted) { return dotted.substr(0, dotted.rfind('.') + 1); }
std::string last_part(const std::string& dotted) { return dotted.substr(dotted.rfind('.') + 1); }

}  // namespace

std::string config_to_toml(const std::function<void(ConfigSection&)>& describe) {
  TomlWriter writer;
  describe(writer);
  return writer.text();
}

std::vector<ConfigKey> config_keys(const std::function<void(ConfigSection&)>& describe) {
  KeyLister lister;
  describe(lister);
  return lister.keys;
}

std::string config_reference(const std::function<void(ConfigSection&)>& describe) {
  std::vector<std::vector<std::string>> rows = {{"key", "default", "type", "meaning"}};
  for (const ConfigKey& key : config_keys(describe)) {
    const std::string name = key.is_table() ? "[" + key.name + "]" : key.name;
    rows.push_back({name, key.value, key.type, key.unit.empty() ? key.help : str(key.help, " [", key.unit, "]")});
  }
  return text_table(rows);
}

std::string nearest_name(const std::string& name, const std::vector<std::string>& known) {
  const std::string part = last_part(name);
  std::string nearest;
  size_t best = (part.size() <= 3 ? 1 : std::max<size_t>(2, part.size() / 3)) + 1;
  for (const std::string& candidate : known) {
    // The right key in the wrong table is a near miss, too.
    const size_t distance = edit_distance(part, last_part(candidate)) + (table_of(candidate) != table_of(name));
    if (distance >= best) continue;
    best = distance;
    nearest = candidate;
  }
  return nearest;
}

}  // namespace braid
