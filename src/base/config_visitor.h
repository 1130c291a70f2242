// SPDX-License-Identifier: Apache-2.0
// What a struct's description meets: a reader, a printer or a lister. They share the dotted name of the current table.
#pragma once

#include <functional>
#include <string>

#include "base/config.h"

namespace braid {

class ConfigVisitor : public ConfigSection {
 public:
  using ConfigSection::table;
  void table(std::string_view key, std::string_view help,
             const std::function<void(ConfigSection&)>& describe) override {
    const std::string outer = prefix_;
    enter(dotted(key), help);
    prefix_ = dotted(key) + ".";
    describe(*this);
    prefix_ = outer;
  }

 protected:
  virtual void enter(const std::string& dotted_name, std::string_view help) = 0;
  std::string dotted(std::string_view key) const { return prefix_ + std::string(key); }

 private:
  std::string prefix_;  // "" or "model."
};

}  // namespace braid
