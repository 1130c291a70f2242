// SPDX-License-Identifier: Apache-2.0
// A token as it was chosen. No torch in here, so that whoever passes answers on need not know it.
#pragma once

#include <cstdint>
#include <vector>

namespace braid {

// Natural logarithms of the probabilities that the model gives, before penalties, temperature and filters, as OpenAI's
// API has them.
struct TokenLogprob {
  int64_t id;
  double logprob;
};

struct SampledToken {
  int64_t id = -1;                // -1: the row's logits are NaN or infinite
  double logprob = 0;             // of this token; where the options ask for it
  std::vector<TokenLogprob> top;  // the likeliest, most likely first, equal ones by id
};

}  // namespace braid
