// SPDX-License-Identifier: Apache-2.0
#include "text/post_processor.h"

#include "base/error.h"

namespace braid {

namespace {

std::vector<TokenId> ids_of(const JsonField& special_tokens, const std::string& name) {
  const auto token = special_tokens.find(name.c_str());
  if (!token) special_tokens.refuse(str(in_quotes(name), " is missing"));
  std::vector<TokenId> ids;
  for (const JsonField& id : token->at("ids").list()) {
    ids.push_back(static_cast<TokenId>(id.whole_number(0, highest_token_id)));
  }
  return ids;
}

}  // namespace

PostProcessor::PostProcessor(const JsonField& component) { read(component); }

void PostProcessor::read(const JsonField& component) {
  const std::string type = component.type();
  if (type == "Sequence") {
    for (const JsonField& inner : component.at("processors").list()) read(inner);
  } else if (type == "TemplateProcessing") {
    read_template(component);
  } else if (type != "ByteLevel") {
    component.refuse(
        str("post-processor ", in_quotes(type), " is not supported; TemplateProcessing, ByteLevel and Sequence are"));
  }
}

void PostProcessor::read_template(const JsonField& component) {
  if (has_template_) component.refuse("is a second TemplateProcessing; one is supported");
  has_template_ = true;
  bool text_seen = false;
  const JsonField single = component.at("single");
  for (const JsonField& piece : single.list()) {
    if (const auto token = piece.find("SpecialToken")) {
      const std::vector<TokenId> ids = ids_of(component.at("special_tokens"), token->at("id").text());
      std::vector<TokenId>& side = text_seen ? behind_ : before_;
      side.insert(side.end(), ids.begin(), ids.end());
    } else if (text_seen || piece.at("Sequence").at("id").text() != "A") {
      single.refuse("expected special tokens and the sequence A, once");
    } else {
      text_seen = true;
    }
  }
  if (!text_seen) single.refuse("expected special tokens and the sequence A, once");
}

}  // namespace braid
