// SPDX-License-Identifier: Apache-2.0
// How many tokens a request may need, estimated without a tokenizer: what a front shares requests out by.
#pragma once

#include <cstdint>
#include <string>

namespace braid {

struct RequestTokens {
  int64_t prompts = 0, answers = 0;  // of all answers together
  int64_t all() const { return prompts + answers; }
};

// Text counts as a token for each 4 bytes; an answer as long as it may become: max_tokens, or what a request that leaves
// it out gets (serve/completion_request.h). Bodies that cannot be read count as nothing: a replica will refuse them.
RequestTokens request_tokens(const std::string& path, const std::string& body, int64_t context);

}  // namespace braid
