// SPDX-License-Identifier: Apache-2.0
// The member "decoder" of a tokenizer.json: how tokens become text again. Known are ByteLevel, Replace, ByteFallback,
// Fuse, Strip, Metaspace and Sequence; others are refused. Without a decoder tokens are joined by blanks.
//
// Decoding is a stream: tokens go in one by one or all at once, text comes out as soon as no later token can change it.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/json_field.h"
#include "text/replacement.h"

namespace braid {

// A token, or a part of one whose end is not known yet.
struct TokenPart {
  std::string text;
  bool first = true, last = true;  // whether the token begins and ends here
};

// What one stage remembers between tokens.
struct DecoderMemory {
  std::string held;   // of a token that has not ended, or bytes that are not yet a character
  std::string bytes;  // ByteFallback: of the run of byte tokens so far
  size_t tokens = 0, points = 0;
  bool begun = false, stripping = true;
};

class Decoder {
 public:
  Decoder() : stages_{JoinWithBlanks()} {}
  explicit Decoder(const JsonField& component);  // UsageError

  using Memory = std::vector<DecoderMemory>;
  Memory start() const { return Memory(stages_.size()); }

  // Adds to `out` what the next tokens let be known; with at_end all that is left. Never a part of a character.
  void feed(std::vector<TokenPart>& tokens, bool at_end, Memory& memory, MatchScratch& scratch, std::string& out) const;

  // Whether all it does is to read the byte alphabet, so that tokens are bytes.
  bool is_bytes_only() const { return stages_.size() == 1 && std::holds_alternative<Bytes>(stages_.front()); }

 private:
  struct JoinWithBlanks {};
  struct Bytes {};
  struct ByteFallback {};
  struct Fuse {};
  struct Strip {
    std::string content;  // one character
    size_t start = 0, stop = 0;
  };
  struct Metaspace {
    std::string mark;
    bool hides_first = true;  // the marks of the first token
  };
  using Stage = std::variant<JoinWithBlanks, Bytes, ByteFallback, Fuse, Strip, Metaspace, Replacement>;

  void read(const JsonField& component);
  static Strip read_strip(const JsonField& component);
  static Metaspace read_metaspace(const JsonField& component);
  std::vector<Stage> stages_;
};

// The bytes that a token of a byte-level tokenizer stands for; its own where it is not written in the byte alphabet.
std::string bytes_of_token(std::string_view token);

}  // namespace braid
