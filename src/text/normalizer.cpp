// SPDX-License-Identifier: Apache-2.0
#include "text/normalizer.h"

#include "base/error.h"
#include "text/unicode_form.h"

namespace braid {

namespace {

// Null for a name that is none of them.
std::function<std::string(std::string_view)> change_named(const std::string& type) {
  const auto form = [](UnicodeForm to) { return [to](std::string_view text) { return unicode_form(text, to); }; };
  if (type == "NFC") return form(UnicodeForm::NFC);
  if (type == "NFD") return form(UnicodeForm::NFD);
  if (type == "NFKC") return form(UnicodeForm::NFKC);
  if (type == "NFKD") return form(UnicodeForm::NFKD);
  if (type == "Lowercase") return lower_case;
  if (type == "StripAccents") return without_accents;
  return nullptr;
}

}  // namespace

Normalizer::Normalizer(const JsonField& component) { read(component); }

void Normalizer::read(const JsonField& component) {
  const std::string type = component.type();
  if (type == "Sequence") {
    for (const JsonField& inner : component.at("normalizers").list()) read(inner);
  } else if (type == "Prepend") {
    steps_.emplace_back(Prefix{component.at("prepend").text()});
  } else if (type == "Replace") {
    steps_.emplace_back(Replacement::read(component));
  } else if (const auto change = change_named(type)) {
    steps_.emplace_back(change);
  } else {
    component.refuse(str("normalizer ", in_quotes(type),
                         " is not supported; NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Prepend, Replace and Sequence are"));
  }
}

void Normalizer::apply(std::string& text, MatchScratch& scratch) const {
  for (const Step& step : steps_) {
    if (const auto* prefix = std::get_if<Prefix>(&step)) {
      if (!text.empty()) text.insert(0, prefix->text);
    } else if (const auto* change = std::get_if<Change>(&step)) {
      text = (*change)(text);
    } else {
      std::string changed;
      changed.reserve(text.size() + text.size() / 4);
      std::get<Replacement>(step).append(text, scratch, changed);
      text = std::move(changed);
    }
  }
}

}  // namespace braid
