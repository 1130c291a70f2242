// SPDX-License-Identifier: Apache-2.0
// Which names hide the variables that a template is given. Jinja decides this before a template runs: a block that sets
// a name, outside of any `if` and before reading it, has the name from its beginning, undefined until it is set. So in
// {% for m in messages %}{{ bos_token }}{% endfor %}{% set bos_token = '' %} nothing is printed, whatever bos_token is.
#pragma once

#include "text/jinja_node.h"

namespace braid::jinja {

// Fills `hidden` of every block that has names of its own.
void find_hidden_names(Node& template_block);

}  // namespace braid::jinja
