// SPDX-License-Identifier: Apache-2.0
// The smallest compressing model on passkeys that tests of answers and losses ask.
#pragma once

#include "data/passkey_task.h"
#include "experiments/run_config.h"

namespace braid::test {

inline RunConfig tiny_gist_config(int64_t context, int64_t gists) {
  RunConfig config;
  config.model.dialect = "llama";
  config.model.layers = 2;
  config.model.width = 32;
  config.model.heads = 4;
  config.model.mlp_width = 64;
  config.model.vocabulary = passkey::vocabulary;
  config.model.context = context;
  config.gist.count = gists;
  return config;
}

}  // namespace braid::test
