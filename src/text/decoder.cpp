// SPDX-License-Identifier: Apache-2.0
#include "text/decoder.h"

#include <algorithm>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/utf8.h"

namespace braid {

namespace {

using Parts = std::vector<TokenPart>;

// Holds tokens back until their ends are there.
void gather_whole_tokens(Parts& parts, DecoderMemory& memory) {
  Parts whole;
  for (TokenPart& part : parts) {
    if (part.first && part.last) {
      whole.push_back(std::move(part));
      continue;
    }
    memory.held += part.text;
    if (!part.last) continue;
    whole.push_back({std::move(memory.held)});
    memory.held.clear();
  }
  parts = std::move(whole);
}

void join_with_blanks(Parts& parts, DecoderMemory& memory) {
  for (TokenPart& part : parts) {
    if (memory.tokens++ > 0) part.text.insert(0, 1, ' ');
  }
}

// All tokens become one.
void fuse(Parts& parts, bool at_end, DecoderMemory& memory) {
  if (at_end) parts.push_back({});
  for (size_t i = 0; i < parts.size(); ++i) {
    parts[i].first = !memory.begun;
    parts[i].last = at_end && i + 1 == parts.size();
    memory.begun = true;
  }
}

// All tokens become one text; what is no UTF-8 in it becomes U+FFFD.
void read_bytes(Parts& parts, bool at_end, DecoderMemory& memory) {
  gather_whole_tokens(parts, memory);
  for (const TokenPart& part : parts) memory.bytes += bytes_of_token(part.text);
  std::string text;
  memory.bytes.erase(0, append_repaired(text, memory.bytes, at_end));
  parts.clear();
  if (!text.empty()) parts.push_back({std::move(text)});
  fuse(parts, at_end, memory);
}

int hexadecimal(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  const char letter = static_cast<char>(digit | 0x20);
  return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

// Of "<0x41>", and of "<0x+4>", which Rust's number parser takes as well; -1 for other tokens.
int byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  const int high = token[3] == '+' ? 0 : hexadecimal(token[3]), low = hexadecimal(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

// A run of bytes is text if all of it is UTF-8, else one U+FFFD for each byte: known when the run has ended.
void end_run(DecoderMemory& memory, Parts& out) {
  if (memory.bytes.empty()) return;
  if (is_valid_utf8(memory.bytes)) {
    out.push_back({memory.bytes});
  } else {
    for (size_t i = 0; i < memory.bytes.size(); ++i) out.push_back({"\uFFFD"});
  }
  memory.bytes.clear();
}

void read_byte_tokens(Parts& parts, bool at_end, DecoderMemory& memory) {
  gather_whole_tokens(parts, memory);
  Parts out;
  for (TokenPart& part : parts) {
    const int byte = byte_of_token(part.text);
    if (byte >= 0) {
      memory.bytes.push_back(static_cast<char>(byte));
      continue;
    }
    end_run(memory, out);
    out.push_back(std::move(part));
  }
  if (at_end) end_run(memory, out);
  parts = std::move(out);
}

void strip_start(TokenPart& part, const std::string& content, size_t most, DecoderMemory& memory) {
  if (part.first) memory.points = 0, memory.stripping = true;
  size_t cut = 0;
  while (memory.stripping && cut < part.text.size()) {
    memory.stripping = memory.points < most && part.text.compare(cut, content.size(), content) == 0;
    if (memory.stripping) cut += content.size(), ++memory.points;
  }
  part.text.erase(0, cut);
}

void strip_end(TokenPart& part, const std::string& content, size_t most) {
  for (size_t i = 0; i < most && part.text.ends_with(content); ++i) part.text.resize(part.text.size() - content.size());
}

void show_marks(Parts& parts, const std::string& mark, bool hides_first, DecoderMemory& memory) {
  for (TokenPart& part : parts) {
    const char* const shown = hides_first && memory.tokens == 0 ? "" : " ";
    std::string text;
    for (size_t at = 0; at < part.text.size();) {
      const bool marked = part.text.compare(at, mark.size(), mark) == 0;
      const size_t bytes = code_point_bytes(static_cast<unsigned char>(part.text[at]));
      marked ? text.append(shown) : text.append(part.text, at, bytes);
      at += bytes;
    }
    part.text = std::move(text);
    memory.tokens += part.last;
  }
}

void replace(Parts& parts, const Replacement& replacement, MatchScratch& scratch, DecoderMemory& memory) {
  gather_whole_tokens(parts, memory);
  for (TokenPart& part : parts) {
    std::string text;
    replacement.append(part.text, scratch, text);
    part.text = std::move(text);
  }
}

template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};

}  // namespace

std::string bytes_of_token(std::string_view token) {
  std::string bytes;
  for (size_t at = 0; at < token.size();) {
    const auto byte = byte_of_letter(next_code_point(token, at));
    if (!byte) return std::string(token);
    bytes.push_back(static_cast<char>(*byte));
  }
  return bytes;
}

Decoder::Decoder(const JsonField& component) { read(component); }

void Decoder::read(const JsonField& component) {
  const std::string type = component.type();
  if (type == "Sequence") {
    for (const JsonField& inner : component.at("decoders").list()) read(inner);
  } else if (type == "ByteLevel") {
    stages_.emplace_back(Bytes());
  } else if (type == "ByteFallback") {
    stages_.emplace_back(ByteFallback());
  } else if (type == "Fuse") {
    stages_.emplace_back(Fuse());
  } else if (type == "Replace") {
    stages_.emplace_back(Replacement::read(component));
  } else if (type == "Strip") {
    stages_.emplace_back(read_strip(component));
  } else if (type == "Metaspace") {
    stages_.emplace_back(read_metaspace(component));
  } else {
    component.refuse(str("decoder ", in_quotes(type),
                         " is not supported; ByteLevel, Replace, ByteFallback, Fuse, Strip, ",
                         "Metaspace and Sequence are"));
  }
}

Decoder::Strip Decoder::read_strip(const JsonField& component) {
  const auto count = [&](const char* name) {
    return static_cast<size_t>(component.at(name).whole_number(0, INT32_MAX));
  };
  return {read_character(component.at("content")), count("start"), count("stop")};
}

Decoder::Metaspace Decoder::read_metaspace(const JsonField& component) {
  return {read_character(component.at("replacement")), component.text_or("prepend_scheme", "always") != "never"};
}

void Decoder::feed(Parts& tokens, bool at_end, Memory& memory, MatchScratch& scratch, std::string& out) const {
  for (size_t i = 0; i < stages_.size(); ++i) {
    DecoderMemory& own = memory[i];
    const auto strip = [&](const Strip& s) {
      if (s.stop > 0) gather_whole_tokens(tokens, own);
      for (TokenPart& part : tokens) {
        strip_start(part, s.content, s.start, own);
        strip_end(part, s.content, s.stop);
      }
    };
    std::visit(Overloaded{[&](const JoinWithBlanks&) { join_with_blanks(tokens, own); },
                          [&](const Bytes&) { read_bytes(tokens, at_end, own); },
                          [&](const ByteFallback&) { read_byte_tokens(tokens, at_end, own); },
                          [&](const Fuse&) { fuse(tokens, at_end, own); }, strip,
                          [&](const Metaspace& m) { show_marks(tokens, m.mark, m.hides_first, own); },
                          [&](const Replacement& r) { replace(tokens, r, scratch, own); }},
               stages_[i]);
  }
  for (const TokenPart& part : tokens) out += part.text;
  tokens.clear();
}

}  // namespace braid
