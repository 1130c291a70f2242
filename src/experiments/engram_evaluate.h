// SPDX-License-Identifier: Apache-2.0
// The Engram test: every prompt of test.jsonl is continued by the likeliest tokens, by the base model and with its adapter
// on, and the answers are judged (engram_score.h).
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"
#include "data/text_examples.h"
#include "experiments/engram_score.h"
#include "nn/transformer.h"

namespace braid {

struct EngramTest {
  std::vector<TextExample> items;
  std::vector<Seen> seen;

  std::string prompt(size_t i) const { return items[i].messages.front().second; }
  std::string expected(size_t i) const { return items[i].messages.back().second; }
  std::vector<std::string> categories() const;  // in the order in which they first come
  std::vector<bool> of_category(const std::string& category) const;
  std::vector<bool> of_kind(Seen kind) const;
};

// test.jsonl, and what train.jsonl says of its prompts. UsageError names file and line.
EngramTest read_engram_test(const std::string& folder);

struct EngramAsk {
  const ExampleForm& form;
  std::vector<int64_t> stop_ids;
  int64_t max_new_tokens = 50;
};

// The last message is the answer that is expected; the model does not see it.
EngramAnswer answer_one(Transformer& model, const Conversation& messages, const EngramAsk& ask);

// An answer for each item, on every rank; the ranks share the items. One prompt at a time after one to warm up, so that
// latencies are those of a single user. Collective.
std::vector<EngramAnswer> answer_all(Transformer& model, const EngramTest& test, const EngramAsk& ask, Communicator& host);

}  // namespace braid
