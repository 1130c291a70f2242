// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "text/tokenizer_parts.h"
#include "text/utf8.h"

namespace braid {

namespace {

// Calls work() on so many threads, this one among them, and throws what the first to fail has thrown.
template <class Work>
void on_threads(size_t threads, const Work& work) {
  std::vector<std::exception_ptr> failures(threads);
  const auto guarded = [&](size_t i) {
    try {
      work();
    } catch (...) {
      failures[i] = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> others;
    for (size_t i = 1; i < threads; ++i) others.emplace_back(guarded, i);
    guarded(0);
  }
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

constexpr size_t most_threads = 256;

size_t threads_for(size_t texts, int wanted) {
  const size_t threads = wanted > 0 ? static_cast<size_t>(wanted) : std::thread::hardware_concurrency();
  return std::clamp<size_t>(threads, 1, std::clamp<size_t>(texts, 1, most_threads));
}

}  // namespace

Tokenizer Tokenizer::from_file(const std::string& path) {
  const Json json = read_json_file(path);
  return Tokenizer(std::make_shared<TokenizerParts>(JsonField(json, path)));
}

Tokenizer Tokenizer::from_text(std::string_view json, const std::string& name) {
  const Json parsed = parse_json(json, name);
  return Tokenizer(std::make_shared<TokenizerParts>(JsonField(parsed, name)));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, SpecialTokens special) const {
  std::vector<TokenId> ids;
  ScratchPool::Lease scratch(parts_->pool);
  parts_->encode(text, special == SpecialTokens::add, *scratch, ids);
  return ids;
}

std::vector<std::vector<TokenId>> Tokenizer::encode_batch(std::span<const std::string> texts, int threads,
                                                          SpecialTokens special) const {
  std::vector<std::vector<TokenId>> all(texts.size());
  std::atomic<size_t> next = 0;
  on_threads(threads_for(texts.size(), threads), [&] {
    ScratchPool::Lease scratch(parts_->pool);
    for (size_t i = next++; i < texts.size(); i = next++) {
      parts_->encode(texts[i], special == SpecialTokens::add, *scratch, all[i]);
    }
  });
  return all;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, DecodeSpecial special) const {
  const bool skip = special == DecodeSpecial::skip;
  std::string text;
  if (parts_->decoder.is_bytes_only()) {
    std::string bytes;
    for (const TokenId id : ids) {
      if (parts_->is_shown(id, skip)) bytes += parts_->token_bytes[static_cast<size_t>(id)];
    }
    append_repaired(text, bytes, true);
    return text;
  }
  std::vector<TokenPart> tokens;
  for (const TokenId id : ids) {
    if (parts_->is_shown(id, skip)) tokens.push_back({*parts_->decoded_token_of(id)});
  }
  Decoder::Memory memory = parts_->decoder.start();
  MatchScratch scratch;
  parts_->decoder.feed(tokens, true, memory, scratch, text);
  return text;
}

std::optional<TokenId> Tokenizer::token_to_id(std::string_view token) const {
  const TokenId id = parts_->id_of(token);
  return id == no_token ? std::nullopt : std::optional(id);
}

std::optional<std::string> Tokenizer::id_to_token(TokenId id) const {
  const std::string* token = parts_->token_of(id);
  return token ? std::optional(*token) : std::nullopt;
}

bool Tokenizer::is_special(TokenId id) const {
  return id >= 0 && static_cast<size_t>(id) < parts_->special.size() && parts_->special[static_cast<size_t>(id)];
}

size_t Tokenizer::tokens() const {
  return parts_->model.vocabulary().tokens() + parts_->added.outside_model().tokens();
}

int64_t Tokenizer::vocabulary() const { return static_cast<int64_t>(parts_->special.size()); }

const std::string& Tokenizer::file() const { return parts_->file; }

IncrementalDecoder::IncrementalDecoder(const Tokenizer& tokenizer, DecodeSpecial special)
    : parts_(tokenizer.parts_), special_(special), memory_(parts_->decoder.start()) {}

std::string IncrementalDecoder::push(TokenId id) {
  std::string text;
  if (!parts_->is_shown(id, special_ == DecodeSpecial::skip)) return text;
  std::vector<TokenPart> tokens = {{*parts_->decoded_token_of(id)}};
  parts_->decoder.feed(tokens, false, memory_, scratch_, text);
  return text;
}

std::string IncrementalDecoder::finish() {
  std::string text;
  std::vector<TokenPart> none;
  parts_->decoder.feed(none, true, memory_, scratch_, text);
  memory_ = parts_->decoder.start();
  return text;
}

}  // namespace braid
