// SPDX-License-Identifier: Apache-2.0
// The message with which an action fails.
#pragma once

#include <functional>
#include <string>

#include "base/error.h"

namespace braid {

inline std::string thrown_message(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace braid
