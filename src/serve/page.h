// SPDX-License-Identifier: Apache-2.0
// The page at /: one file, which asks for nothing from elsewhere.
#pragma once

#include "serve/http_message.h"

namespace braid {

HttpReply page_reply();

}  // namespace braid
