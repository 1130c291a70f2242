// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer_parts.h"

#include "base/error.h"
#include "text/utf8.h"

namespace braid {

namespace {

constexpr std::string_view word_mark = "\u2581";

template <class Part>
Part read_part(const JsonField& root, const char* name) {
  const auto field = root.find(name);
  return field ? Part(*field) : Part();
}

AddedTokens read_added(const JsonField& root, const BpeModel& model, const Normalizer& normalizer) {
  const auto field = root.find("added_tokens");
  return field ? AddedTokens(*field, model.vocabulary(), normalizer) : AddedTokens();
}

}  // namespace

std::unique_ptr<EncodeScratch> ScratchPool::take() {
  {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      auto scratch = std::move(free_.back());
      free_.pop_back();
      return scratch;
    }
  }
  return std::make_unique<EncodeScratch>();
}

void ScratchPool::give_back(std::unique_ptr<EncodeScratch> scratch) noexcept {
  const std::lock_guard lock(mutex_);
  try {
    free_.push_back(std::move(scratch));
  } catch (const std::bad_alloc&) {  // then the next one is made anew
  }
}

TokenizerParts::TokenizerParts(const JsonField& root)
    : file(root.file()),
      model(root.at("model")),
      normalizer(read_part<Normalizer>(root, "normalizer")),
      pre_tokenizer(read_part<PreTokenizer>(root, "pre_tokenizer")),
      added(read_added(root, model, normalizer)),
      post_processor(read_part<PostProcessor>(root, "post_processor")),
      decoder(read_part<Decoder>(root, "decoder")) {
  for (const auto* side : {&post_processor.before(), &post_processor.behind()}) {
    for (const TokenId id : *side) {
      if (!token_of(id)) root.at("post_processor").refuse(str("no token has its id ", id));
    }
  }
  const TokenId end = std::max(model.vocabulary().end(), added.outside_model().end());
  for (TokenId id = 0; id < end; ++id) {
    const std::string *token = token_of(id), *decoded = decoded_token_of(id);
    special.push_back(token && added.is_special(*token));
    hidden.push_back(decoded && added.is_special(*decoded));  // by its text, as in Hugging Face's
    if (decoder.is_bytes_only()) token_bytes.push_back(decoded ? bytes_of_token(*decoded) : "");
  }
}

const std::string* TokenizerParts::token_of(TokenId id) const {
  const std::string* token = added.outside_model().token_of(id);
  return token ? token : model.vocabulary().token_of(id);
}

const std::string* TokenizerParts::decoded_token_of(TokenId id) const {
  const std::string* normal = added.normal_form(id);
  return normal ? normal : token_of(id);
}

TokenId TokenizerParts::id_of(std::string_view token) const {
  const TokenId id = added.outside_model().id_of(token);
  return id != no_token ? id : model.vocabulary().id_of(token);
}

bool TokenizerParts::is_shown(TokenId id, bool skip_special) const {
  return token_of(id) && !(skip_special && hidden[static_cast<size_t>(id)]);
}

void TokenizerParts::encode(std::string_view text, bool add_special, EncodeScratch& scratch,
                            std::vector<TokenId>& out) const {
  std::string repaired;
  if (!is_valid_utf8(text)) text = repaired = repair_utf8(text);
  if (add_special) out.insert(out.end(), post_processor.before().begin(), post_processor.before().end());
  scratch.raw_parts.clear();
  added.find_raw(text, scratch.match, scratch.raw_parts);
  for (const auto& [span, id] : scratch.raw_parts) {
    if (id != no_token) {
      out.push_back(id);
    } else {
      encode_plain(text.substr(span.begin, span.end - span.begin), span.begin == 0, scratch, out);
    }
  }
  if (add_special) out.insert(out.end(), post_processor.behind().begin(), post_processor.behind().end());
}

// Text without raw added tokens. at_start: it begins the text as the user gave it.
void TokenizerParts::encode_plain(std::string_view text, bool at_start, EncodeScratch& scratch,
                                  std::vector<TokenId>& out) const {
  std::string normal(text);
  normalizer.apply(normal, scratch.match);
  scratch.normalized_parts.clear();
  added.find_normalized(normal, scratch.match, scratch.normalized_parts);
  Pieces& pieces = scratch.pieces;
  for (const auto& [span, id] : scratch.normalized_parts) {
    if (id != no_token) {
      out.push_back(id);
      continue;
    }
    pieces.text.assign(normal, span.begin, span.end - span.begin);
    pieces.spans.assign(1, {0, pieces.text.size()});
    pieces.at_start = at_start && span.begin == 0;
    pre_tokenizer.apply(pieces, scratch.spare, scratch.match);
    for (const Span piece : pieces.spans) encode_words(pieces.text, piece, scratch, out);
  }
}

// A piece may be a whole text: where it can be cut into words without a change, they are found in the cache.
void TokenizerParts::encode_words(std::string_view text, Span piece, EncodeScratch& scratch,
                                  std::vector<TokenId>& out) const {
  const std::string_view words = text.substr(piece.begin, piece.end - piece.begin);
  if (pre_tokenizer.as_bytes() || !model.cuts_at_word_marks()) return encode_word(words, scratch, out);
  size_t begin = 0;
  for (size_t at = words.find(word_mark, 1); at != std::string_view::npos; at = words.find(word_mark, at)) {
    if (!words.substr(0, at).ends_with(word_mark)) {
      encode_word(words.substr(begin, at - begin), scratch, out);
      begin = at;
    }
    at += word_mark.size();
  }
  encode_word(words.substr(begin), scratch, out);
}

void TokenizerParts::encode_word(std::string_view word, EncodeScratch& scratch, std::vector<TokenId>& out) const {
  if (scratch.cache.append(word, out)) return;
  const size_t before = out.size();
  model.tokenize(word, pre_tokenizer.as_bytes(), scratch.merge, out);
  scratch.cache.keep(word, std::span(out).subspan(before));
}

}  // namespace braid
