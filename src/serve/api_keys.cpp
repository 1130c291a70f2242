// SPDX-License-Identifier: Apache-2.0
#include "serve/api_keys.h"

#include <boost/algorithm/string/predicate.hpp>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "serve/http_message.h"

namespace braid {

namespace {

bool same(const std::string& one, const std::string& other) {
  unsigned differing = one.size() == other.size() ? 0 : 1;
  for (size_t i = 0; i < one.size(); ++i) {
    differing |= static_cast<unsigned char>(one[i]) ^ static_cast<unsigned char>(other[i % (other.size() + 1)]);
  }
  return differing == 0;
}

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\r");
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(" \t\r") + 1 - begin);
}

}  // namespace

ApiKeys::ApiKeys(std::vector<std::string> keys) : keys_(std::move(keys)) {
  for (const std::string& key : keys_) {
    if (!is_plain_token(key)) throw UsageError("API keys: expected at most 128 visible ASCII characters in each");
  }
}

std::vector<std::string> ApiKeys::from_file(const std::string& path) {
  std::ifstream in(path);
  if (!in) throw UsageError(str("--api-key-file ", path, ": cannot be read"));
  std::vector<std::string> keys;
  for (std::string line; std::getline(in, line);) {
    const std::string key = trimmed(line);
    if (!key.empty() && key[0] != '#') keys.push_back(key);
  }
  if (keys.empty()) throw UsageError(str("--api-key-file ", path, ": expected a key on a line, found none"));
  return keys;
}

std::vector<std::string> ApiKeys::from_list(const std::string& text) {
  std::vector<std::string> keys;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) {
    if (const std::string key = trimmed(part); !key.empty()) keys.push_back(key);
  }
  return keys;
}

bool ApiKeys::admits(const std::string& authorization) const {
  constexpr const char* scheme = "Bearer ";
  if (keys_.empty()) return true;
  if (!boost::algorithm::istarts_with(authorization, scheme)) return false;
  const std::string given = trimmed(authorization.substr(std::string(scheme).size()));
  bool admitted = false;
  for (const std::string& key : keys_) admitted = same(given, key) || admitted;
  return admitted;
}

}  // namespace braid
