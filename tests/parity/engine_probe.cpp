// SPDX-License-Identifier: Apache-2.0
// What the engine tells of all tokens' chances, by way of its paged cache: log-probabilities of the whole vocabulary,
// which may have at most most_logprobs tokens, at each step of greedy answers to several prompts at once.
//   engine_probe MODEL OUT STEP_TOKENS NEW_TOKENS 1,2,3 [4,5,6 …]
// writes `ids.N` [NEW_TOKENS] and `logprobs.N` [NEW_TOKENS, V] for prompt N.
#include <iostream>
#include <sstream>

#include "infer/engine.h"
#include "models/hf_config.h"
#include "models/hf_model.h"
#include "nn/precompiled.h"
#include "tensor_file.h"

namespace braid {
namespace {

GenerationRequest request_of(const std::string& ids, int64_t new_tokens, int64_t vocabulary) {
  GenerationRequest request;
  std::stringstream in(ids);
  for (std::string id; std::getline(in, id, ',');) request.prompt.push_back(std::stoll(id));
  request.max_tokens = new_tokens;
  request.sampling.logprobs = vocabulary;
  return request;
}

struct Told {
  at::Tensor ids, logprobs;
  int64_t steps = 0;

  void take(const SampledToken& token) {
    ids[steps] = token.id;
    for (const TokenLogprob& one : token.top) logprobs[steps][one.id] = one.logprob;
    ++steps;
  }
};

void probe(const std::vector<std::string>& words) {
  const at::NoGradGuard no_gradient;
  const HfConfig config = read_hf_config(words[0]);
  Transformer model(config.model, Precision::fp32, at::kCPU, Weights::frozen);
  load_hf_model(HfFiles(words[0]), model);
  EngineLimits limits;
  limits.step_tokens = std::stoll(words[2]);
  limits.block_tokens = 4;
  Engine engine(model, nullptr, limits);
  const int64_t new_tokens = std::stoll(words[3]), vocabulary = config.model.vocabulary;
  std::vector<Told> all;
  for (size_t i = 4; i < words.size(); ++i) {
    all.push_back({at::empty({new_tokens}, at::kLong), at::full({new_tokens, vocabulary}, NAN, at::kFloat)});
  }
  for (size_t i = 0; i < all.size(); ++i) {
    engine.submit(request_of(words[i + 4], new_tokens, vocabulary), [&told = all[i]](RequestProgress progress) {
      for (const SampledToken& token : progress.tokens) told.take(token);
    });
  }
  while (engine.step()) {
  }
  test::Named tensors;
  for (size_t i = 0; i < all.size(); ++i) {
    tensors.emplace_back(str("ids.", i), all[i].ids);
    tensors.emplace_back(str("logprobs.", i), all[i].logprobs);
  }
  test::write_tensors(words[1], tensors);
}

}  // namespace
}  // namespace braid

int main(int argc, char** argv) {
  if (argc < 6) return 2;
  try {
    braid::probe({argv + 1, argv + argc});
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "engine_probe: " << error.what() << "\n";
    return 1;
  }
}
