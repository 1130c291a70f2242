// SPDX-License-Identifier: Apache-2.0
// The member "pre_tokenizer" of a tokenizer.json: how text falls into words, each of which is encoded alone. Known are
// ByteLevel, Digits, Split, Metaspace, Whitespace, WhitespaceSplit, CharDelimiterSplit and Sequence; others are
// refused.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "text/json_field.h"
#include "text/split.h"

namespace braid {

// A text and the pieces of it that are left.
struct Pieces {
  std::string text;
  std::vector<Span> spans;
  bool at_start = true;  // whether a span that begins at 0 begins the text as the user gave it
};

class PreTokenizer {
 public:
  PreTokenizer() = default;                           // leaves text whole
  explicit PreTokenizer(const JsonField& component);  // UsageError

  // Whether words are to be written in the byte alphabet (text/byte_alphabet.h) before they are looked up.
  bool as_bytes() const { return as_bytes_; }

  // Cuts all pieces; `spare` is room for work.
  void apply(Pieces& pieces, Pieces& spare, MatchScratch& scratch) const;

 private:
  struct PrefixBlank {};  // in front of pieces that begin with none
  struct ByteLetters {};  // each piece in the byte alphabet
  struct Metaspace {
    std::string mark;  // instead of blanks
    enum class Prepend { never, first, always } prepend = Prepend::always;
  };
  using Step = std::variant<PatternSplit, PrefixBlank, ByteLetters, Metaspace>;

  void read(const JsonField& component);
  void read_byte_level(const JsonField& component);
  void read_metaspace(const JsonField& component);
  static Metaspace::Prepend read_prepend(const JsonField& component);
  static void write_marks(const Metaspace& metaspace, Pieces& pieces, Pieces& spare);

  std::vector<Step> steps_;
  bool as_bytes_ = false;
};

}  // namespace braid
