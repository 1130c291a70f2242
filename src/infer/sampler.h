// SPDX-License-Identifier: Apache-2.0
// Chooses the next tokens of many requests at once, each by its own options, on the device of the logits. Only ids, and
// log-probabilities where they are asked for, come to the host.
//
// A request has a slot from its first token to its last; rows of a step may be of any slots in any order.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "infer/sampled_token.h"
#include "infer/sampling_options.h"

namespace braid {

struct SampledTokens {
  at::Tensor ids;  // [R] int64 on the logits' device: what the next step takes
  std::vector<SampledToken> rows;
};

class Sampler {
 public:
  Sampler(int64_t slots, int64_t vocabulary, const at::Device& device);

  // A new request in the slot. The prompt matters to the repetition penalty only.
  void begin(int64_t slot, const SamplingOptions& options, std::span<const int64_t> prompt);

  // logits [R, V], of any float type; row r is of slot slots[r], and none is there twice. If it throws, for want of
  // memory, nothing has happened; nor has it to a slot whose logits are NaN or infinite.
  SampledTokens sample(const at::Tensor& logits, std::span<const int64_t> slots);

  // What sample would choose once `ahead` more tokens had come to each slot: a guess where other logits come then, or
  // penalties that count those tokens. ids [R]; nothing has happened.
  at::Tensor guess(const at::Tensor& logits, std::span<const int64_t> slots, int64_t ahead) const;

  // The logits after penalties and barred tokens, fp32 where any row has some: what is drawn from.
  at::Tensor penalised(const at::Tensor& logits, std::span<const int64_t> slots) const;

 private:
  struct Slot {
    SamplingOptions options;
    int64_t step = 0;
    at::Tensor barred;  // ids on the device; undefined for none
    bool bars() const { return barred.defined() && step < options.barred_for; }
  };

  at::Tensor choose(const at::Tensor& changed, std::span<const int64_t> slots, int64_t ahead) const;
  at::Tensor draw(const at::Tensor& logits, const at::Tensor& likeliest, std::span<const int64_t> slots,
                  int64_t ahead) const;
  at::Tensor penalties(const at::Tensor& logits, std::span<const int64_t> slots) const;
  void add_logprobs(const at::Tensor& logits, std::span<const int64_t> slots, SampledTokens& sampled) const;
  void count(const SampledTokens& sampled, std::span<const int64_t> slots);
  bool any(std::span<const int64_t> slots, bool (*has)(const Slot&)) const;

  int64_t vocabulary_;
  at::Device device_;
  std::vector<Slot> slots_;
  at::Tensor prompt_;  // [slots, V] bool: is in the prompt; undefined until a request has penalties
  at::Tensor counts_;  // [slots, V] int32: how often in the answer; likewise
};

}  // namespace braid
