// SPDX-License-Identifier: Apache-2.0
// A smaller model that proposes an answer's next tokens. It has a pool of keys and values of its own, with blocks
// claimed and shared as the large model's are, and reads of each text what it has not read yet, a prompt in pieces. A
// proposal is drawn as the answer's own token will be, by the same options and random number: the nearer the draft's
// probabilities are to the model's, the likelier both draw the same.
//
// Whatever goes wrong with it, there are fewer proposals: no answer changes.
#pragma once

#include <vector>

#include "infer/cache_blocks.h"
#include "infer/paged_cache.h"
#include "infer/sampler.h"

namespace braid {

struct DraftLimits {
  int64_t slots = 0;  // of the sampler
  int64_t blocks = 0, block_tokens = 0;
  int64_t step_tokens = 0;  // that it reads in one pass, of all texts together
  bool share_prefixes = true;
};

class Draft {
 public:
  // The model must outlive it. UsageError: another vocabulary.
  Draft(Transformer& model, int64_t vocabulary, const DraftLimits& limits);

  struct Wish {
    int64_t slot = 0;
    std::span<const int64_t> text;  // prompt and answer so far
    int64_t most_tokens = 0;        // that the text may grow to
    int64_t tokens = 0;             // to be proposed
  };
  // For each wish as many tokens, or fewer: where it has still to read, has no room, or its logits are no numbers.
  std::vector<std::vector<int64_t>> propose(std::span<const Wish> wishes, const Sampler& sampler);
  void end(int64_t slot);  // its request has ended

  // Of a pass that makes one more token, measured; 0: none was yet.
  double round_seconds() const { return round_seconds_; }
  int64_t weight_bytes() const { return weight_bytes_; }
  int64_t cache_bytes() const { return cache_.bytes(); }

 private:
  struct Text {
    std::vector<int64_t> blocks;  // none: it has no room
    std::vector<int64_t> read;    // tokens whose keys and values are in them, guesses among them
  };
  struct Going {
    size_t wish;
    std::vector<int64_t> unread;
    bool is_whole;  // all that there is to read
  };

  bool make_ready(const Wish& wish);
  std::vector<Going> to_be_read(std::span<const Wish> wishes);
  std::vector<Going> pass(std::span<const Wish> wishes, const std::vector<Going>& going, const Sampler& sampler,
                          int64_t ahead, std::vector<std::vector<int64_t>>& proposals);

  Transformer* model_;
  DraftLimits limits_;
  PagedCache cache_;
  CacheBlocks blocks_;
  std::vector<Text> texts_;  // by slot
  double round_seconds_ = 0;
  int64_t weight_bytes_ = 0;
};

}  // namespace braid
