// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 as it goes over the wire (RFC 9112).
#pragma once

#include <optional>
#include <string>

#include "serve/http_message.h"

namespace braid {

// Status line and fields. Without a length the body comes in chunks, or, where not even those are possible, ends with
// the connection.
std::string reply_head(const HttpReply& head, std::optional<size_t> length, bool chunked, bool keep_alive);

// One of a body in chunks; the empty one ends it.
std::string chunk_of(const std::string& piece);

}  // namespace braid
