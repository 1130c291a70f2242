// SPDX-License-Identifier: Apache-2.0
// "Replace" of normalizers and decoders: every match of a pattern becomes a fixed text.
#pragma once

#include <string>
#include <string_view>

#include "text/json_field.h"
#include "text/pattern.h"

namespace braid {

// The member "pattern" of a component: {"String": …} or {"Regex": …}. UsageError.
Pattern read_pattern(const JsonField& pattern);

// One Unicode character, such as Metaspace's "replacement". UsageError.
std::string read_character(const JsonField& field);

struct Replacement {
  Pattern pattern;
  std::string content;

  static Replacement read(const JsonField& component);
  void append(std::string_view text, MatchScratch& scratch, std::string& out) const;
};

}  // namespace braid
