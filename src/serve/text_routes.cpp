// SPDX-License-Identifier: Apache-2.0
#include "serve/text_routes.h"

#include "serve/refusal.h"

namespace braid {

namespace {

using nlohmann::json;
using nlohmann::ordered_json;

std::vector<int64_t> tokens_of(const ServedModel& model, const BodyFields& fields) {
  const json* messages = fields.find("messages");
  if (messages) return chat_tokens(model, *messages, fields.flag("add_generation_prompt").value_or(true));
  const auto prompt = fields.text("prompt");
  if (!prompt) fields.refuse("prompt", "a string, or messages instead");
  const bool special = fields.flag("add_special_tokens").value_or(true);
  return text_tokens(model, *prompt, special ? SpecialTokens::add : SpecialTokens::leave_out);
}

}  // namespace

ordered_json tokenized(const ServedModel& model, const std::string& body) {
  const json object = parse_body(body);
  const BodyFields fields(object);
  fields.require_known({"prompt", "messages", "add_special_tokens", "add_generation_prompt"}, {"model"});
  const std::vector<int64_t> tokens = tokens_of(model, fields);
  return {{"count", tokens.size()}, {"max_model_len", model.context}, {"tokens", tokens}};
}

ordered_json detokenized(const ServedModel& model, const std::string& body) {
  const json object = parse_body(body);
  const BodyFields fields(object);
  fields.require_known({"tokens"}, {"model"});
  const json* list = fields.find("tokens");
  const std::vector<int64_t> ids = token_ids(list ? *list : json(), "tokens", model.tokenizer.vocabulary());
  const std::vector<TokenId> tokens(ids.begin(), ids.end());
  return {{"prompt", model.tokenizer.decode(tokens, DecodeSpecial::keep)}};
}

ordered_json model_object(const ServedModel& model) {
  return {{"id", model.name},
          {"object", "model"},
          {"created", model.created},
          {"owned_by", "braid"},
          {"max_model_len", model.context}};
}

ordered_json model_list(const ServedModel& model) {
  return {{"object", "list"}, {"data", ordered_json::array({model_object(model)})}};
}

}  // namespace braid
