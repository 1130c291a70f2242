// SPDX-License-Identifier: Apache-2.0
#include "text/pre_tokenizer.h"

#include <optional>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/pattern_syntax.h"
#include "text/replacement.h"

namespace braid {

namespace {

// openai/gpt-2, src/encoder.py
constexpr const char* gpt2_pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// The words of Rust's regex crate, which Whitespace uses: its \w has Join_Control, too.
constexpr const char* rust_words = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control})";

// Writes each piece anew: write(piece, index, out).
template <class Write>
void rewrite(Pieces& pieces, Pieces& spare, const Write& write) {
  spare.text.clear(), spare.spans.clear();
  spare.at_start = pieces.at_start && !pieces.spans.empty() && pieces.spans.front().begin == 0;
  const std::string_view text = pieces.text;
  for (size_t i = 0; i < pieces.spans.size(); ++i) {
    const size_t begin = spare.text.size();
    write(text.substr(pieces.spans[i].begin, pieces.spans[i].end - pieces.spans[i].begin), i, spare.text);
    spare.spans.push_back({begin, spare.text.size()});
  }
  std::swap(pieces, spare);
}

// Those that only cut.
std::optional<PatternSplit> read_split(const JsonField& component, const std::string& type) {
  if (type == "Split") {
    return PatternSplit{read_pattern(component.at("pattern")), read_split_behavior(component.at("behavior")),
                        component.flag_or("invert", false)};
  }
  if (type == "Digits") {
    const bool single = component.flag_or("individual_digits", false);
    return PatternSplit{Pattern::regex("\\p{N}"), single ? SplitBehavior::isolated : SplitBehavior::contiguous, false};
  }
  if (type == "Whitespace") {
    const std::string word = str(rust_words, newer_letters);
    const std::string pattern = str("[", word, "]+|[^", word, white_space_ranges, "]+");
    return PatternSplit{Pattern::pcre2(pattern), SplitBehavior::removed, true};
  }
  if (type == "WhitespaceSplit") return PatternSplit{Pattern::regex("\\s"), SplitBehavior::removed, false};
  if (type == "CharDelimiterSplit") {
    const std::string delimiter = read_character(component.at("delimiter"));
    return PatternSplit{Pattern::literal(delimiter), SplitBehavior::removed, false};
  }
  return std::nullopt;
}

}  // namespace

PreTokenizer::PreTokenizer(const JsonField& component) {
  read(component);
  if (!steps_.empty() && std::holds_alternative<ByteLetters>(steps_.back())) {
    steps_.pop_back();  // the model does it word by word, and only for words that it meets for the first time
    as_bytes_ = true;
  }
}

void PreTokenizer::read(const JsonField& component) {
  const std::string type = component.type();
  if (type == "Sequence") {
    for (const JsonField& inner : component.at("pretokenizers").list()) read(inner);
  } else if (type == "ByteLevel") {
    read_byte_level(component);
  } else if (type == "Metaspace") {
    read_metaspace(component);
  } else if (auto split = read_split(component, type)) {
    steps_.emplace_back(std::move(*split));
  } else {
    component.refuse(str("pre-tokenizer ", in_quotes(type), " is not supported; ByteLevel, Digits, Split, Metaspace, ",
                         "Whitespace, WhitespaceSplit, CharDelimiterSplit and Sequence are"));
  }
}

void PreTokenizer::read_byte_level(const JsonField& component) {
  if (component.at("add_prefix_space").flag()) steps_.emplace_back(PrefixBlank());
  if (component.flag_or("use_regex", true)) {
    steps_.emplace_back(PatternSplit{Pattern::regex(gpt2_pattern), SplitBehavior::isolated, false});
  }
  steps_.emplace_back(ByteLetters());
}

// Older files say add_prefix_space instead of prepend_scheme.
PreTokenizer::Metaspace::Prepend PreTokenizer::read_prepend(const JsonField& component) {
  const auto scheme = component.find("prepend_scheme");
  const std::string name = scheme ? scheme->text() : "always";
  const bool adds = component.flag_or("add_prefix_space", true);
  if (!adds && name != "never") component.refuse("add_prefix_space = false contradicts prepend_scheme");
  if (name == "always") return Metaspace::Prepend::always;
  if (name == "first") return Metaspace::Prepend::first;
  if (name != "never") scheme->refuse(str(in_quotes(name), ": expected always, first or never"));
  return Metaspace::Prepend::never;
}

void PreTokenizer::read_metaspace(const JsonField& component) {
  const std::string mark = read_character(component.at("replacement"));
  steps_.emplace_back(Metaspace{mark, read_prepend(component)});
  if (component.flag_or("split", true)) {
    steps_.emplace_back(PatternSplit{Pattern::literal(mark), SplitBehavior::merged_with_next, false});
  }
}

void PreTokenizer::write_marks(const Metaspace& metaspace, Pieces& pieces, Pieces& spare) {
  using Prepend = Metaspace::Prepend;
  const bool starts = pieces.at_start && !pieces.spans.empty() && pieces.spans.front().begin == 0;
  rewrite(pieces, spare, [&](std::string_view piece, size_t index, std::string& out) {
    const size_t begin = out.size();
    for (const char byte : piece) byte == ' ' ? void(out.append(metaspace.mark)) : out.push_back(byte);
    const bool is_first = starts && index == 0;
    const bool prepends = metaspace.prepend == Prepend::always || (metaspace.prepend == Prepend::first && is_first);
    const bool has_mark = std::string_view(out).substr(begin).starts_with(metaspace.mark);
    if (prepends && !has_mark) out.insert(begin, metaspace.mark);
  });
}

void PreTokenizer::apply(Pieces& pieces, Pieces& spare, MatchScratch& scratch) const {
  const auto with_blank = [](std::string_view piece, size_t, std::string& out) {
    if (!piece.starts_with(' ')) out.push_back(' ');
    out.append(piece);
  };
  const auto in_letters = [](std::string_view piece, size_t, std::string& out) { append_letters(out, piece); };
  for (const Step& step : steps_) {
    if (const auto* split = std::get_if<PatternSplit>(&step)) {
      spare.spans.clear();
      for (const Span piece : pieces.spans) split->cut(pieces.text, piece, scratch, spare.spans);
      std::swap(pieces.spans, spare.spans);
    } else if (const auto* metaspace = std::get_if<Metaspace>(&step)) {
      write_marks(*metaspace, pieces, spare);
    } else {
      std::holds_alternative<PrefixBlank>(step) ? rewrite(pieces, spare, with_blank)
                                                : rewrite(pieces, spare, in_letters);
    }
  }
}

}  // namespace braid
