// SPDX-License-Identifier: Apache-2.0
// The keys that needles hide. Which split a key may appear in is a property of the key itself, so that keys of training
// and test samples are disjoint for all seeds and files, without a list of either.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/needle_draws.h"

namespace braid {

// What a key looks like: so many characters of an alphabet.
struct KeyForm {
  std::string alphabet;  // ASCII capitals and digits
  int64_t shortest = 6, longest = 6;

  bool fits(std::string_view text) const;
  double keys() const;  // how many there are
};

// Alphabets by name: "alnum" ([A-Z0-9]), "letters" ([A-Z]) or "digits". UsageError for another name or for a length
// that is not in [2, 64].
KeyForm key_form(const std::string& characters, int64_t length);

// The narrowest of these forms that all keys have. Error where a key has other characters.
KeyForm form_of_keys(const std::vector<std::string>& keys);

std::string describe(const KeyForm& form);  // "6 characters of [A-Z0-9]"

// A quarter of all keys belong to the test split, by a hash that knows no seed.
NeedleSplit split_of_key(std::string_view key);

// Uniform among the form's keys of that split.
std::string draw_key(const KeyForm& form, NeedleSplit split, NeedleDraws& draws);

}  // namespace braid
