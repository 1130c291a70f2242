// SPDX-License-Identifier: Apache-2.0
// Jinja templates as Hugging Face's chat templates use them, rendered as transformers renders them: an immutable
// sandbox with trim_blocks and lstrip_blocks, `break` and `continue`, {% generation %}, raise_exception, strftime_now
// and a tojson that does not escape HTML. Language: https://jinja.palletsprojects.com/en/stable/templates/
//
// Not supported, and refused with the line: include, import, extends, block, call, recursive loops, * and ** arguments,
// % formatting, filters for HTML, integers beyond 64 bits, case and kinds of letters beyond ASCII. A loop's `if` is
// asked for all items before the first pass.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "text/jinja_node.h"

namespace braid::jinja {

class Template {
 public:
  // `name` stands in messages, "<name>:<line>: <what is wrong>". UsageError.
  Template(const std::string& source, std::string name);
  // `variables` is an object. UsageError, also where the template calls raise_exception.
  std::string render(const nlohmann::ordered_json& variables) const;

 private:
  std::string name_;
  Node block_;
};

}  // namespace braid::jinja
