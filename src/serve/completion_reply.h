// SPDX-License-Identifier: Apache-2.0
// Answers as /v1/completions and /v1/chat/completions tell them, whole or as a stream.
#pragma once

#include "serve/answering.h"
#include "serve/completion_request.h"

namespace braid {

Generation completion_generation(ServedModelPtr model, Completion completion, const std::string& request_id);

}  // namespace braid
