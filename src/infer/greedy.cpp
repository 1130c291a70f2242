// SPDX-License-Identifier: Apache-2.0
#include "infer/greedy.h"

#include <algorithm>

#include "base/clock.h"
#include "base/error.h"
#include "infer/decode.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

using Prompts = std::vector<std::vector<int64_t>>;

void check_prompt(const std::vector<int64_t>& prompt, size_t index, const ModelConfig& config, int64_t more) {
  const std::string which = str("text ", index + 1, ": ");
  if (prompt.empty()) throw UsageError(which + "expected at least one token id");
  for (const int64_t id : prompt) {
    if (id >= 0 && id < config.vocabulary) continue;
    throw UsageError(str(which, "expected token ids from 0 to ", config.vocabulary - 1, ", found ", id));
  }
  const auto length = static_cast<int64_t>(prompt.size());
  if (length + more <= config.context) return;
  throw UsageError(
      str(which, length, " tokens and ", more, " new ones are more than the model's context of ", config.context));
}

// [B, T], texts at the right.
at::Tensor padded_ids(const Prompts& prompts, const std::vector<int64_t>& padding, int64_t longest) {
  at::Tensor ids = at::zeros({static_cast<int64_t>(prompts.size()), longest}, at::kLong);
  for (size_t b = 0; b < prompts.size(); ++b) {
    int64_t* row = ids.mutable_data_ptr<int64_t>() + static_cast<int64_t>(b) * longest;
    std::copy(prompts[b].begin(), prompts[b].end(), row + padding[b]);
  }
  return ids;
}

// Adds each text's token, unless it has ended; whether any goes on.
bool append(Prompts& texts, std::vector<bool>& ended, const at::Tensor& next, const GreedyOptions& options) {
  const std::vector<int64_t>& stop_ids = options.stop_ids;
  const int64_t* token = next.const_data_ptr<int64_t>();
  for (size_t b = 0; b < texts.size(); ++b) {
    if (ended[b]) continue;
    texts[b].push_back(token[b]);
    if (options.on_token) options.on_token(b, token[b]);
    ended[b] = std::find(stop_ids.begin(), stop_ids.end(), token[b]) != stop_ids.end();
  }
  return std::find(ended.begin(), ended.end(), false) != ended.end();
}

}  // namespace

Generated generate_greedy(Transformer& model, const Prompts& prompts, const GreedyOptions& options) {
  size_t longest = 0;
  for (size_t b = 0; b < prompts.size(); ++b) {
    check_prompt(prompts[b], b, model.config(), options.max_new_tokens);
    longest = std::max(longest, prompts[b].size());
  }
  Generated done{Prompts(prompts.size())};
  if (prompts.empty() || options.max_new_tokens == 0) return done;
  std::vector<int64_t> padding;
  for (const auto& prompt : prompts) padding.push_back(static_cast<int64_t>(longest - prompt.size()));
  const auto slots = static_cast<int64_t>(longest) + options.max_new_tokens;
  KvCache cache = make_kv_cache(model, padding, slots);
  std::vector<bool> ended(prompts.size(), false);
  model.residual().begin_step();
  const Stopwatch watch;
  at::Tensor next = padded_ids(prompts, padding, static_cast<int64_t>(longest));
  for (int64_t step = 0; step < options.max_new_tokens; ++step) {
    const at::Tensor logits = decode(model, cache, next.to(model.device()).view({cache.batch(), -1}));
    next = logits.argmax(-1).cpu();
    if (step == 0) done.prefill_seconds = watch.seconds();
    if (!append(done.tokens, ended, next, options)) break;
  }
  done.decode_seconds = watch.seconds() - done.prefill_seconds;
  return done;
}

}  // namespace braid
