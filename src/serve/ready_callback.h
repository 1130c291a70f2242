// SPDX-License-Identifier: Apache-2.0
// Tells whoever started a worker that it is ready: POST URL {"worker_id", "vram_bytes", "uri"}, as the public worker
// does.
#pragma once

#include <cstdint>
#include <string>

namespace braid {

struct CallbackUrl {
  std::string host, port, path;
};
// UsageError, in the option's name: no http://HOST[:PORT][/PATH].
CallbackUrl parse_callback_url(const std::string& url, const std::string& option = "--callback-url");

struct ReadyNotice {
  std::string worker_id, uri;
  int64_t memory_bytes = 0;  // on the model's device, measured
};

// Tried again a few times, each a little later. Error: no attempt was answered with 2xx; what the last one met.
void tell_ready(const CallbackUrl& url, const ReadyNotice& notice);

}  // namespace braid
