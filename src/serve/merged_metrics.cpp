// SPDX-License-Identifier: Apache-2.0
#include "serve/merged_metrics.h"

#include <algorithm>
#include <sstream>

namespace braid {

namespace {

constexpr const char* label = "replica=\"";

struct Family {
  std::string name, head, samples;
};

bool is_of_the_front(const std::string& name) {
  return name == "braid_ready" || name == "braid_connections" || name == "braid_dropped_clients_total" ||
         name == "braid_http_replies_total";
}

// "a{b="c"} 1" → "a{replica="NAME",b="c"} 1"
std::string labelled(const std::string& sample, const std::string& replica) {
  const size_t brace = sample.find('{'), blank = sample.find(' ');
  if (brace == std::string::npos || brace > blank) {
    return sample.substr(0, blank) + "{" + label + replica + "\"}" + sample.substr(std::min(blank, sample.size()));
  }
  const std::string name = sample.substr(0, brace + 1), rest = sample.substr(brace + 1);
  if (rest.starts_with(label)) return name + label + replica + "/" + rest.substr(std::string(label).size());
  return name + label + replica + "\"," + rest;
}

Family& family_of(std::vector<Family>& all, const std::string& name) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const Family& one) { return one.name == name; });
  if (found != all.end()) return *found;
  all.push_back({name, "", ""});
  return all.back();
}

std::string second_word(const std::string& line, const std::string& first) {
  const size_t end = line.find(' ', first.size());
  return line.substr(first.size(), end == std::string::npos ? end : end - first.size());
}

void add(std::vector<Family>& all, const std::string& text, const std::string& replica) {
  const std::string help = "# HELP ", type = "# TYPE ";
  std::istringstream lines(text);
  std::string name;
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) continue;
    const bool about = line.starts_with(help) || line.starts_with(type);
    if (about) name = second_word(line, help);
    if (name.empty() || (!replica.empty() && is_of_the_front(name))) continue;
    Family& family = family_of(all, name);
    if (!about) {
      family.samples += (replica.empty() ? line : labelled(line, replica)) + "\n";
    } else if (family.samples.empty() && family.head.find(line + "\n") == std::string::npos) {
      family.head += line + "\n";
    }
  }
}

}  // namespace

std::string merged_metrics(const std::string& own, const std::vector<LabelledMetrics>& replicas) {
  std::vector<Family> all;
  add(all, own, "");
  for (const LabelledMetrics& one : replicas) add(all, one.text, one.replica);
  std::string text;
  for (const Family& family : all) text += family.head + family.samples;
  return text;
}

}  // namespace braid
