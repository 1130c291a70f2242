// SPDX-License-Identifier: Apache-2.0
// Printing: described structs as TOML, and the list of all keys.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

#include "base/config_visitor.h"
#include "base/error.h"
#include "base/text_table.h"

namespace braid {

namespace {

std::string toml_text(bool value) { return value ? "true" : "false"; }
std::string toml_text(int64_t value) { return std::to_string(value); }

// The shortest text that reads back as the same double, with a point so that TOML takes it for a float.
std::string toml_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  std::string shortest(text, end);
  if (shortest.find_first_of(".e") == std::string::npos) shortest += ".0";
  return shortest;
}

std::string toml_text(const std::string& value) {
  std::string quoted = "\"";
  for (const char c : value) {
    char escape[8];
    if (c == '"' || c == '\\') {
      quoted += {'\\', c};
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      std::snprintf(escape, sizeof escape, "\\u%04x", c);
      quoted += escape;
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

template <class T>
std::string toml_text(const std::vector<T>& values) {
  std::string list = "[";
  for (const T& value : values) list += (list.size() > 1 ? ", " : "") + toml_text(value);
  return list + "]";
}

// Both printers need each key's name, value as text, type and range.
class Lister : public ConfigVisitor {
 public:
  void value(std::string_view key, bool& field, std::string_view help) override { put(key, toml_text(field), "boolean", help); }
  void value(std::string_view key, int64_t& field, std::string_view help, int64_t min, int64_t) override {
    const bool bounded = min != std::numeric_limits<int64_t>::min();
    put(key, toml_text(field), bounded ? str("integer >= ", min) : "integer", help);
  }
  void value(std::string_view key, double& field, std::string_view help, double min, double) override {
    put(key, toml_text(field), std::isinf(min) ? "number" : str("number >= ", min), help);
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

class TomlWriter final : public Lister {
 public:
  std::string text;

 protected:
  void put(std::string_view key, const std::string& value, const std::string&, std::string_view) override {
    text += std::string(key) + " = " + value + "\n";
  }
  void enter(const std::string& dotted_name, std::string_view) override {
    text += (text.empty() ? "[" : "\n[") + dotted_name + "]\n";
  }
};

class KeyLister final : public Lister {
 public:
  std::vector<std::vector<std::string>> rows = {{"key", "default", "type", "meaning"}};

 protected:
  void put(std::string_view key, const std::string& value, const std::string& type, std::string_view help) override {
    rows.push_back({dotted(key), value, type, std::string(help)});
  }
  void enter(const std::string& dotted_name, std::string_view help) override {
    rows.push_back({"[" + dotted_name + "]", "", "", std::string(help)});
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

std::string last_part(const std::string& dotted) { return dotted.substr(dotted.rfind('.') + 1); }

}  // namespace

std::string config_to_toml(const std::function<void(ConfigSection&)>& describe) {
  TomlWriter writer;
  describe(writer);
  return writer.text;
}

std::string config_reference(const std::function<void(ConfigSection&)>& describe) {
  KeyLister lister;
  describe(lister);
  return text_table(lister.rows);
}

std::string nearest_name(const std::string& name, const std::vector<std::string>& known) {
  std::string nearest;
  size_t best = std::max<size_t>(2, name.size() / 3) + 1;
  for (const std::string& candidate : known) {
    // The right key in the wrong table is a near miss, too.
    const size_t distance = last_part(candidate) == last_part(name) ? 1 : edit_distance(name, candidate);
    if (distance >= best) continue;
    best = distance;
    nearest = candidate;
  }
  return nearest;
}

}  // namespace braid
