// SPDX-License-Identifier: Apache-2.0
#include "infer/generate.h"

#include <algorithm>
#include <numeric>

#include "base/clock.h"
#include "base/error.h"
#include "infer/decode.h"
#include "infer/sampler.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

using Requests = std::span<const GenerationRequest>;

// Texts at the right: how many slots before each are filled with anything.
std::vector<int64_t> paddings_of(Requests requests) {
  size_t longest = 0;
  for (const GenerationRequest& request : requests) longest = std::max(longest, request.prompt.size());
  std::vector<int64_t> padding;
  for (const GenerationRequest& request : requests) {
    padding.push_back(static_cast<int64_t>(longest - request.prompt.size()));
  }
  return padding;
}

// [B, T]
at::Tensor padded_ids(Requests requests, const std::vector<int64_t>& padding) {
  const int64_t longest = padding.front() + static_cast<int64_t>(requests.front().prompt.size());
  at::Tensor ids = at::zeros({static_cast<int64_t>(requests.size()), longest}, at::kLong);
  for (size_t b = 0; b < requests.size(); ++b) {
    int64_t* row = ids.mutable_data_ptr<int64_t>() + static_cast<int64_t>(b) * longest;
    std::copy(requests[b].prompt.begin(), requests[b].prompt.end(), row + padding[b]);
  }
  return ids;
}

// Gives each answer that goes on its token; whether any still does.
bool append(std::vector<GrowingAnswer>& answers, SampledTokens& sampled, const OnToken& on_token) {
  bool more = false;
  for (size_t b = 0; b < answers.size(); ++b) {
    if (answers[b].finished()) continue;
    if (sampled.rows[b].id < 0) throw Error(str("text ", b + 1, ": the model's logits are NaN or infinite"));
    const std::string text = answers[b].push(std::move(sampled.rows[b]));
    if (on_token) on_token(b, answers[b].answer().tokens.back(), text);
    more |= !answers[b].finished();
  }
  return more;
}

struct Batch {
  std::vector<GrowingAnswer> answers;
  Sampler sampler;
  std::vector<int64_t> slots;
};

Batch make_batch(Transformer& model, Requests requests, const Tokenizer* tokenizer) {
  const auto size = static_cast<int64_t>(requests.size());
  Batch batch{{}, Sampler(size, model.config().vocabulary, model.device()), std::vector<int64_t>(requests.size())};
  std::iota(batch.slots.begin(), batch.slots.end(), 0);
  for (size_t b = 0; b < requests.size(); ++b) {
    check_request(requests[b], model.config().vocabulary, model.config().context, str("text ", b + 1, ": "));
    batch.answers.emplace_back(requests[b], tokenizer);
    batch.sampler.begin(batch.slots[b], sampling_of(requests[b]), requests[b].prompt);
  }
  return batch;
}

}  // namespace

Generated generate(Transformer& model, Requests requests, const Tokenizer* tokenizer, const OnToken& on_token) {
  Batch batch = make_batch(model, requests, tokenizer);
  int64_t most = 0;
  for (const GenerationRequest& request : requests) most = std::max(most, request.max_tokens);
  Generated done;
  if (most > 0) {
    const std::vector<int64_t> padding = paddings_of(requests);
    at::Tensor ids = padded_ids(requests, padding).to(model.device());
    KvCache cache = make_kv_cache(model, padding, ids.size(1) + most);
    model.residual().begin_step();
    const Stopwatch watch;
    for (bool more = true; more;) {
      SampledTokens sampled = batch.sampler.sample(decode(model, cache, ids), batch.slots);
      if (done.prefill_seconds == 0) done.prefill_seconds = watch.seconds();
      more = append(batch.answers, sampled, on_token);
      ids = sampled.ids.clamp_min(0).unsqueeze(1);
    }
    done.decode_seconds = watch.seconds() - done.prefill_seconds;
  }
  for (const GrowingAnswer& grown : batch.answers) done.answers.push_back(grown.answer());
  return done;
}

}  // namespace braid
