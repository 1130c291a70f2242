// SPDX-License-Identifier: Apache-2.0
#include "serve/worker_violations.h"

#include <algorithm>
#include <cfloat>

#include "base/error.h"

namespace braid {

namespace {

using nlohmann::json;
using Violations = std::vector<WorkerViolation>;

constexpr size_t longest_prompt = 32768, longest_stop = 100, most_stops = 4;

size_t characters_of(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

const json* find(const json& body, const char* field) {
  const auto found = body.find(field);
  return found == body.end() || found->is_null() ? nullptr : &*found;
}

void add(Violations& all, const std::string& field, const std::string& constraint, const json& value = nullptr) {
  all.push_back({field, constraint, field + " must be " + constraint, value});
}

void check_text(const json& body, const char* field, size_t longest, Violations& all) {
  const json* value = find(body, field);
  if (!value || !value->is_string()) return add(all, field, "a string");
  const size_t size = characters_of(value->get_ref<const std::string&>());
  const std::string length =
      longest == SIZE_MAX ? "a string that is not empty" : str("a string of 1 to ", longest, " characters");
  if (size == 0 || size > longest) add(all, field, length);
}

struct NumberRule {
  const char* field;
  double least, most;
  const char* constraint;
};

// A value that is no number is not told back: it may be a text.
void check_number(const json& body, const NumberRule& rule, Violations& all) {
  const json* value = find(body, rule.field);
  if (!value) return;
  if (!value->is_number()) return add(all, rule.field, rule.constraint);
  const auto number = value->get<double>();
  if (!(number >= rule.least && number <= rule.most)) add(all, rule.field, rule.constraint, *value);
}

void check_whole(const json& body, const char* field, uint64_t least, uint64_t most, const char* constraint,
                 Violations& all) {
  const json* value = find(body, field);
  if (!value) return;
  if (!value->is_number()) return add(all, field, constraint);
  const bool whole = value->is_number_unsigned();
  const uint64_t number = whole ? value->get<uint64_t>() : 0;
  if (!whole || number < least || number > most) add(all, field, constraint, *value);
}

void check_stops(const json& body, Violations& all) {
  const json* value = find(body, "stop");
  if (!value) return;
  const auto good = [](const json& one) {
    return one.is_string() && characters_of(one.get<std::string>()) > 0 &&
           characters_of(one.get<std::string>()) <= longest_stop;
  };
  const bool all_good =
      value->is_array() && value->size() <= most_stops && std::all_of(value->begin(), value->end(), good);
  if (!all_good)
    add(all, "stop", str("a list of at most ", most_stops, " strings of 1 to ", longest_stop, " characters"));
}

}  // namespace

std::vector<WorkerViolation> worker_violations(const json& body) {
  Violations all;
  check_text(body, "job_id", SIZE_MAX, all);
  check_text(body, "prompt", longest_prompt, all);
  if (!find(body, "max_tokens")) add(all, "max_tokens", "a whole number from 1 to 2048");
  check_whole(body, "max_tokens", 1, 2048, "a whole number from 1 to 2048", all);
  check_number(body, {"temperature", 0, 2, "a number from 0 to 2"}, all);
  check_whole(body, "seed", 0, UINT64_MAX, "a whole number from 0", all);
  check_number(body, {"top_p", 0, 1, "a number from 0 to 1"}, all);
  check_whole(body, "top_k", 0, UINT32_MAX, "a whole number from 0 to 4294967295", all);
  check_number(body, {"repetition_penalty", FLT_MIN, 2, "a number above 0, to 2"}, all);
  check_number(body, {"min_p", 0, 1, "a number from 0 to 1"}, all);
  check_stops(body, all);
  return all;
}

}  // namespace braid
