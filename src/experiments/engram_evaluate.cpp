// SPDX-License-Identifier: Apache-2.0
#include "experiments/engram_evaluate.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data/dataset.h"
#include "infer/generate.h"

namespace braid {

std::vector<std::string> EngramTest::categories() const {
  std::vector<std::string> all;
  for (const TextExample& item : items) {
    if (std::find(all.begin(), all.end(), item.category) == all.end()) all.push_back(item.category);
  }
  return all;
}

std::vector<bool> EngramTest::of_category(const std::string& category) const {
  std::vector<bool> chosen;
  for (const TextExample& item : items) chosen.push_back(item.category == category);
  return chosen;
}

std::vector<bool> EngramTest::of_kind(Seen kind) const {
  std::vector<bool> chosen;
  for (const Seen one : seen) chosen.push_back(one == kind);
  return chosen;
}

EngramTest read_engram_test(const std::string& folder) {
  EngramTest test{read_text_examples(folder + "/test.jsonl"), {}};
  std::vector<std::string> asked, trained;
  for (size_t i = 0; i < test.items.size(); ++i) asked.push_back(test.prompt(i));
  for (const TextExample& example : read_text_examples(folder + "/train.jsonl")) {
    trained.push_back(example.messages.front().second);
  }
  test.seen = seen_in(asked, trained);
  return test;
}

EngramAnswer answer_one(Transformer& model, const Conversation& messages, const EngramAsk& ask) {
  const std::vector<TokenId> asked = prompt_tokens(messages, ask.form);
  GenerationRequest request;
  request.prompt.assign(asked.begin(), asked.end());
  request.max_tokens = ask.max_new_tokens;
  request.stop_ids = ask.stop_ids;
  const Generated done = generate(model, {&request, 1});
  const std::vector<int64_t> ids = done.answers.front().ids();
  const std::vector<TokenId> tokens(ids.begin(), ids.end());
  return {ask.form.tokenizer.decode(tokens), static_cast<int64_t>(tokens.size()), 1e3 * done.prefill_seconds,
          1e3 * done.decode_seconds};
}

namespace {

std::string to_text(const std::vector<EngramAnswer>& answers) {
  nlohmann::json list = nlohmann::json::array();
  for (const EngramAnswer& a : answers) list.push_back({a.text, a.tokens, a.prefill_ms, a.decode_ms});
  return list.dump();
}

void add_from(const std::string& text, std::vector<EngramAnswer>& answers) {
  for (const auto& a : nlohmann::json::parse(text)) {
    answers.push_back({a[0].get<std::string>(), a[1].get<int64_t>(), a[2].get<double>(), a[3].get<double>()});
  }
}

}  // namespace

std::vector<EngramAnswer> answer_all(Transformer& model, const EngramTest& test, const EngramAsk& ask, Communicator& host) {
  const Slice mine = slice_of(static_cast<int64_t>(test.items.size()), host.rank(), host.size());
  std::vector<EngramAnswer> own, all;
  if (mine.count > 0) answer_one(model, test.items[mine.first].messages, ask);
  for (int64_t i = mine.first; i < mine.first + mine.count; ++i) own.push_back(answer_one(model, test.items[i].messages, ask));
  for (const std::string& text : gather_texts(host, to_text(own))) add_from(text, all);
  return all;
}

}  // namespace braid
