// SPDX-License-Identifier: Apache-2.0
// Ranks that fail together end in order: one message, one exit code, no aborted job.
#pragma once

#include <functional>
#include <string>

#include "base/error.h"
#include "comm/communicator.h"

namespace braid {

// An error that every rank of the communicator throws at the same place. Rank 0 prints it.
class AgreedError : public Error {
 public:
  AgreedError(const std::string& message, int code) : Error(message), code_(code) {}
  int exit_code() const override { return code_; }

 private:
  int code_;
};

// Runs `act` on every rank; if it throws an Error on any of them, all throw an AgreedError with the message of the lowest
// such rank. Collective. `act` must not communicate.
void agree(Communicator& comm, const std::function<void()>& act);

// The same with `act` run on rank 0 alone.
void agree_on_root(Communicator& comm, const std::function<void()>& act);

}  // namespace braid
