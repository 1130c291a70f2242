// SPDX-License-Identifier: Apache-2.0
// How a server ends in order.
#pragma once

#include <cstdint>
#include <functional>

#include "serve/http_server.h"

namespace braid {

// Lets what is under way end, connections and `running` answers; what has not after so many seconds is cancelled.
// Whether all ended in time.
bool drain(HttpServer& server, const std::function<int64_t()>& running, double seconds,
           const std::function<void()>& cancel_all);

}  // namespace braid
