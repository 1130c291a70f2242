// SPDX-License-Identifier: Apache-2.0
// The page at /: one file, which asks for nothing from elsewhere.
#pragma once

namespace braid {

const char* serving_page();  // HTML

}  // namespace braid
