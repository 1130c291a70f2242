// SPDX-License-Identifier: Apache-2.0
// Tokens by id and ids by token.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace braid {

using TokenId = int32_t;

constexpr TokenId no_token = -1;
constexpr int64_t highest_token_id = (1 << 22) - 1;  // more than any known vocabulary; bounds the table of tokens

class Vocabulary {
 public:
  Vocabulary() = default;
  Vocabulary(const Vocabulary&) = delete;  // ids_ points into tokens_
  Vocabulary& operator=(const Vocabulary&) = delete;
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;

  // Ids from 0 to highest_token_id, with gaps. False, and nothing is added, where the token or the id is taken.
  bool add(std::string_view token, TokenId id);

  TokenId id_of(std::string_view token) const {  // no_token where there is none
    const auto found = ids_.find(token);
    return found == ids_.end() ? no_token : found->second;
  }
  const std::string* token_of(TokenId id) const {  // nullptr where there is none
    return id >= 0 && static_cast<size_t>(id) < by_id_.size() ? by_id_[static_cast<size_t>(id)] : nullptr;
  }
  size_t tokens() const { return tokens_.size(); }
  TokenId end() const { return static_cast<TokenId>(by_id_.size()); }  // one more than the highest id

 private:
  std::deque<std::string> tokens_;
  std::vector<const std::string*> by_id_;
  std::unordered_map<std::string_view, TokenId> ids_;
};

}  // namespace braid
