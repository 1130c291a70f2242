// SPDX-License-Identifier: Apache-2.0
// Sentences from frames: a text in which {name} stands for a phrase of a word list, which may have slots itself.
//   {name}      a phrase of that list, or a value that is given
//   {a}         "a" or "an", by the letter that follows
//   {은/는}     a Korean particle in two forms: the first behind a final consonant, the second behind a vowel; the
//               second of {으로/로} behind ㄹ too. Digits and Latin letters count as they are read aloud.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "data/needle_draws.h"

namespace braid {

using WordLists = std::map<std::string, std::vector<std::string>>;
using SlotValues = std::map<std::string, std::string>;

// Slots of a frame by name, particles and {a} left out. UsageError: a brace without its other half.
std::vector<std::string> slots_of(std::string_view frame);

// UsageError, beginning with `where`, unless every slot of `frame` is a list or among `given`, and no list leads back
// to itself.
void require_slots(const std::string& frame, const WordLists& words, const std::vector<std::string>& given,
                   const std::string& where);

// The frame with its slots filled; the first letter is a capital.
std::string fill(const std::string& frame, const WordLists& words, const SlotValues& given, NeedleDraws& draws);

}  // namespace braid
