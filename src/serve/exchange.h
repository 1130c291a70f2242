// SPDX-License-Identifier: Apache-2.0
// One request's way back to its client. All of it belongs to the server's thread; once the client has gone, calls do
// nothing.
#pragma once

#include <functional>
#include <string>

#include "serve/http_message.h"

namespace braid {

class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual void reply(HttpReply reply) = 0;  // all of it at once

  // Or piece by piece: `head` has no body, end_stream comes last. A client that does not read is dropped once more than
  // a limit waits for it.
  virtual void begin_stream(HttpReply head) = 0;
  virtual void write(std::string piece) = 0;
  virtual void end_stream() = 0;

  virtual void drop() = 0;  // ends the connection at once

  // Called once if the connection ends before the reply does.
  virtual void on_gone(std::function<void()> act) = 0;
};

// Runs a function on the server's thread, soon; may be called from any thread.
using Poster = std::function<void(std::function<void()>)>;

}  // namespace braid
