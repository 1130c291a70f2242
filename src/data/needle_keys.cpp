// SPDX-License-Identifier: Apache-2.0
#include "data/needle_keys.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace braid {

namespace {

constexpr const char* digits = "0123456789";
constexpr const char* letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
constexpr const char* alnum = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

bool all_in(std::string_view text, std::string_view alphabet) {
  return text.find_first_not_of(alphabet) == std::string_view::npos;
}

}  // namespace

bool KeyForm::fits(std::string_view text) const {
  const auto length = static_cast<int64_t>(text.size());
  return length >= shortest && length <= longest && all_in(text, alphabet);
}

double KeyForm::keys() const {
  double count = 0;
  for (int64_t length = shortest; length <= longest; ++length)
    count += std::pow(double(alphabet.size()), double(length));
  return count;
}

KeyForm key_form(const std::string& characters, int64_t length) {
  if (length < 2 || length > 64) throw UsageError(str("--key-length ", length, ": expected 2 to 64"));
  if (characters == "alnum") return {alnum, length, length};
  if (characters == "letters") return {letters, length, length};
  if (characters == "digits") return {digits, length, length};
  throw UsageError(str("--key-characters ", characters, ": expected alnum, letters or digits"));
}

KeyForm form_of_keys(const std::vector<std::string>& keys) {
  if (keys.empty()) throw Error("the form of keys: expected at least one key");
  KeyForm form{digits, INT64_MAX, 0};
  bool in_digits = true, in_letters = true;
  for (const std::string& key : keys) {
    if (!all_in(key, alnum)) throw Error(str("key '", key, "': expected capitals A to Z and digits only"));
    in_digits = in_digits && all_in(key, digits);
    in_letters = in_letters && all_in(key, letters);
    form.shortest = std::min(form.shortest, static_cast<int64_t>(key.size()));
    form.longest = std::max(form.longest, static_cast<int64_t>(key.size()));
  }
  form.alphabet = in_digits ? digits : in_letters ? letters : alnum;
  return form;
}

std::string describe(const KeyForm& form) {
  const char* of = form.alphabet == digits ? "[0-9]" : form.alphabet == letters ? "[A-Z]" : "[A-Z0-9]";
  const std::string length =
      form.shortest == form.longest ? str(form.shortest) : str(form.shortest, " to ", form.longest);
  return str(length, " characters of ", of);
}

NeedleSplit split_of_key(std::string_view key) {
  const RandomStream hash(0, RandomPurpose::order, str("needle key ", key));
  return hash.bits(0) % 4 == 0 ? NeedleSplit::test : NeedleSplit::train;
}

std::string draw_key(const KeyForm& form, NeedleSplit split, NeedleDraws& draws) {
  std::string key;
  do {
    key.clear();
    const int64_t length = draws.between(form.shortest, form.longest);
    for (int64_t i = 0; i < length; ++i)
      key += form.alphabet[static_cast<size_t>(draws.below(int64_t(form.alphabet.size())))];
  } while (split_of_key(key) != split);
  return key;
}

}  // namespace braid
