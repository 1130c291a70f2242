// SPDX-License-Identifier: Apache-2.0
#include "text/vocabulary.h"

namespace braid {

bool Vocabulary::add(std::string_view token, TokenId id) {
  if (ids_.contains(token) || token_of(id)) return false;
  if (static_cast<size_t>(id) >= by_id_.size()) by_id_.resize(static_cast<size_t>(id) + 1, nullptr);
  const std::string& kept = tokens_.emplace_back(token);
  by_id_[static_cast<size_t>(id)] = &kept;
  ids_.emplace(kept, id);
  return true;
}

}  // namespace braid
