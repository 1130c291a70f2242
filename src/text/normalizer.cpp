// SPDX-License-Identifier: Apache-2.0
#include "text/normalizer.h"

#include "base/error.h"

namespace braid {

Normalizer::Normalizer(const JsonField& component) { read(component); }

void Normalizer::read(const JsonField& component) {
  const std::string type = component.type();
  if (type == "Sequence") {
    for (const JsonField& inner : component.at("normalizers").list()) read(inner);
  } else if (type == "Prepend") {
    steps_.emplace_back(Prefix{component.at("prepend").text()});
  } else if (type == "Replace") {
    steps_.emplace_back(Replacement::read(component));
  } else {
    component.refuse(str("normalizer ", in_quotes(type), " is not supported; Prepend, Replace and Sequence are"));
  }
}

void Normalizer::apply(std::string& text, MatchScratch& scratch) const {
  for (const Step& step : steps_) {
    if (const auto* prefix = std::get_if<Prefix>(&step)) {
      if (!text.empty()) text.insert(0, prefix->text);
    } else {
      std::string changed;
      changed.reserve(text.size() + text.size() / 4);
      std::get<Replacement>(step).append(text, scratch, changed);
      text = std::move(changed);
    }
  }
}

}  // namespace braid
