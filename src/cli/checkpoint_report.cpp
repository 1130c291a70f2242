// SPDX-License-Identifier: Apache-2.0
#include "cli/checkpoint_report.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/text_table.h"
#include "experiments/config_changes.h"
#include "store/checkpoint_lookup.h"
#include "train/memory.h"

namespace braid {

namespace {

using Rows = std::vector<std::vector<std::string>>;

constexpr size_t longest_list = 4;  // numbers of a list that are shown

constexpr int some_digits = 6, all_digits = 17;

std::string number(double value, int digits = some_digits) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*g", digits, plain_nan(value));
  return text;
}
std::string number(int64_t value, int = 0) { return std::to_string(value); }

template <class Number>
std::string list_text(const std::vector<Number>& list, int digits) {
  if (list.empty()) return "none";
  std::string text;
  for (size_t i = 0; i < std::min(list.size(), longest_list); ++i) text += (i ? ", " : "") + number(list[i], digits);
  return list.size() > longest_list ? str(text, ", … (", list.size(), " numbers)") : text;
}

std::string state_text(const StateValue& value, int digits = some_digits) {
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  if (const auto* whole = std::get_if<int64_t>(&value)) return number(*whole);
  if (const auto* real = std::get_if<double>(&value)) return number(*real, digits);
  if (const auto* list = std::get_if<std::vector<int64_t>>(&value)) return list_text(*list, digits);
  return list_text(std::get<std::vector<double>>(value), digits);
}

std::string shape_text(const Extent& shape) { return "[" + extent_text(shape) + "]"; }

// The shards that hold a part of each tensor, by name.
std::map<std::string, std::set<int64_t>> shards_of(const Manifest& manifest) {
  std::map<std::string, std::set<int64_t>> shards;
  for (const ShardRecord& shard : manifest.shards) {
    for (const StoredSlice& stored : shard.slices) shards[stored.slice.name].insert(stored.shard);
  }
  return shards;
}

// "0-2 5"
std::string ranges_text(const std::set<int64_t>& numbers) {
  std::string text;
  for (auto at = numbers.begin(); at != numbers.end();) {
    const int64_t first = *at;
    int64_t last = first;
    while (++at != numbers.end() && *at == last + 1) last = *at;
    text += str(text.empty() ? "" : " ", first);
    if (last > first) text += str("-", last);
  }
  return text;
}

std::string integer_attribute(const Manifest& manifest, const std::string& wanted) {
  for (const auto& [name, value] : manifest.attributes) {
    if (name == wanted && std::holds_alternative<int64_t>(value)) return number(std::get<int64_t>(value));
  }
  return "";
}

Rows general_rows(const std::string& folder, const Manifest& manifest) {
  const bool changed = integer_attribute(manifest, "uncommitted_changes") == "1";
  const std::string& commit = manifest.text("git_commit");
  const size_t files = manifest.shards.size();
  Rows rows = {{"checkpoint", folder},
               {"run", manifest.text("run_id")},
               {"imported from", manifest.text("imported")},
               {"step", number(manifest.step)},
               {"created", manifest.created_utc},
               {"commit", commit.empty() ? "" : commit + (changed ? " with uncommitted changes" : "")},
               {"world size", integer_attribute(manifest, "world_size")},
               {"shards", str(files, files == 1 ? " file, " : " files, ", human_bytes(manifest.bytes()))}};
  if (const auto best = best_checkpoint(std::filesystem::weakly_canonical(folder).parent_path())) {
    rows.push_back({"best of the run", str("step ", best->checkpoint.step, ", held-out loss ", number(best->held_out_loss))});
  }
  std::erase_if(rows, [](const auto& row) { return row[1].empty(); });
  return rows;
}

// Lists of equal length that belong together, as "first to last" each.
std::string skipped_text(const CheckpointState& state) {
  const std::vector<int64_t> first = state_ints(state, "skipped_first"), count = state_ints(state, "skipped_count");
  std::string text;
  for (size_t i = 0; i < std::min(first.size(), count.size()); ++i) {
    text += str(i ? ", " : "", first[i], " to ", first[i] + count[i] - 1);
  }
  return text.empty() ? "none" : text;
}

Rows state_rows(const CheckpointState& state) {
  Rows rows;
  const bool skips = state.count("skipped_first") && state.count("skipped_count");
  for (const auto& [name, value] : state) {
    if (!skips || !name.starts_with("skipped_")) rows.push_back({"  " + name, state_text(value)});
  }
  if (skips) rows.push_back({"  skipped samples", skipped_text(state)});
  return rows;
}

Rows tensor_rows(const Manifest& manifest, const TensorFilter& shown) {
  Rows rows = {{"tensor", "type", "shape", "elements", "bytes", "shards"}};
  const auto shards = shards_of(manifest);
  int64_t elements = 0, bytes = 0;
  for (const auto& [name, tensor] : manifest.tensors()) {
    if (!shown(name)) continue;
    rows.push_back({name, h5::element_name(tensor.element), shape_text(tensor.shape), number(tensor.count),
                    number(static_cast<int64_t>(tensor.bytes())), ranges_text(shards.at(name))});
    elements += tensor.count;
    bytes += static_cast<int64_t>(tensor.bytes());
  }
  const std::string count = str(rows.size() - 1, rows.size() == 2 ? " tensor" : " tensors");
  rows.push_back({count, "", "", number(elements), number(bytes)});
  return rows;
}

}  // namespace

std::string describe_checkpoint(const std::string& folder, const Manifest& manifest, const TensorFilter& shown) {
  Rows rows = general_rows(folder, manifest);
  rows.push_back({"state"});
  for (auto& row : state_rows(manifest.state)) rows.push_back(std::move(row));
  return text_table(rows) + "\n" + text_table(tensor_rows(manifest, shown));
}

namespace {

using OrderedJson = nlohmann::ordered_json;

OrderedJson to_json(const ShardRecord& shard) {
  return {{"file", shard.file}, {"bytes", shard.bytes}, {"crc32c", shard.crc}};
}

template <class Value>
OrderedJson variant_json(const Value& value) {
  return std::visit([](const auto& content) { return OrderedJson(content); }, value);
}

OrderedJson tensors_json(const Manifest& manifest, const TensorFilter& shown) {
  auto all = OrderedJson::array();
  const auto shards = shards_of(manifest);
  for (const auto& [name, tensor] : manifest.tensors()) {
    if (!shown(name)) continue;
    all.push_back({{"name", name},
                   {"type", h5::element_name(tensor.element)},
                   {"shape", tensor.shape},
                   {"elements", tensor.count},
                   {"bytes", tensor.bytes()},
                   {"shards", shards.at(name)}});
  }
  return all;
}

}  // namespace

std::string checkpoint_as_json(const std::string& folder, const Manifest& manifest, const TensorFilter& shown) {
  OrderedJson json = {{"path", folder},
                      {"step", manifest.step},
                      {"created_utc", manifest.created_utc},
                      {"bytes", manifest.bytes()}};
  json["attributes"] = OrderedJson::object();
  for (const auto& [name, value] : manifest.attributes) json["attributes"][name] = variant_json(value);
  json["state"] = OrderedJson::object();
  for (const auto& [name, value] : manifest.state) json["state"][name] = variant_json(value);
  json["shards"] = OrderedJson::array();
  for (const ShardRecord& shard : manifest.shards) json["shards"].push_back(to_json(shard));
  json["tensors"] = tensors_json(manifest, shown);
  return json.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

std::string describe_config_difference(const Manifest& a, const Manifest& b) {
  const std::string &in_a = a.text("config"), &in_b = b.text("config");
  if (in_a == in_b) return "";
  if (in_a.empty() || in_b.empty()) return str("config  only ", in_a.empty() ? "B" : "A", " has it\n");
  RunConfig config;
  try {
    ConfigDocument::from_text(in_b, "B's configuration").read_into(config);
  } catch (const Error& problem) {
    return str("config  differs; ", problem.what(), "\n");
  }
  std::string text;
  for (const ConfigChange& change : config_changes(in_a, config)) text += str("config  ", change.text(), "\n");
  return text;
}

std::string describe_state_difference(const Manifest& a, const Manifest& b) {
  const auto text_in = [](const Manifest& manifest, const std::string& name, int digits) {
    const auto found = manifest.state.find(name);
    return found == manifest.state.end() ? std::string("not there") : state_text(found->second, digits);
  };
  std::string text;
  for (const std::string& name : differing_state(a.state, b.state)) {
    const bool alike = text_in(a, name, some_digits) == text_in(b, name, some_digits);
    const int digits = alike ? all_digits : some_digits;
    text += str("state   ", name, " ", text_in(a, name, digits), " -> ", text_in(b, name, digits), "\n");
  }
  return text;
}

std::string describe_tensor_difference(const TensorComparison& comparison) {
  std::string text;
  for (const std::string& name : comparison.only_in_a) text += str("only in A  ", name, "\n");
  for (const std::string& name : comparison.only_in_b) text += str("only in B  ", name, "\n");
  Rows rows = {{"tensor", "elements", "differ", "largest absolute", "largest relative", "not finite"}};
  for (const TensorDifference& d : comparison.different) {
    if (d.a.shape != d.b.shape) {
      text += str("shape   ", d.a.name, " ", shape_text(d.a.shape), " -> ", shape_text(d.b.shape), "\n");
      continue;
    }
    if (d.a.element != d.b.element) {
      const char *in_a = h5::element_name(d.a.element), *in_b = h5::element_name(d.b.element);
      text += str("type    ", d.a.name, " ", in_a, " -> ", in_b, "\n");
    }
    if (d.differing == 0) continue;
    rows.push_back({d.a.name, number(d.a.count), number(d.differing), number(d.absolute), number(d.relative),
                    number(d.not_finite)});
  }
  if (rows.size() > 1) text += text_table(rows);
  return text;
}

}  // namespace braid
