// SPDX-License-Identifier: Apache-2.0
// One job at a time in a run's folder, and a folder that all ranks share.
#pragma once

#include <string>

#include "comm/communicator.h"

namespace braid {

// Held by rank 0 for as long as it trains, and given up by the system when it dies: a lock on OUT/run.lock, whose text
// names the holder.
class RunLock {
 public:
  RunLock() = default;
  // UsageError that names the job which holds the folder. A job that is just being killed gets a few seconds.
  explicit RunLock(const std::string& out);
  RunLock(RunLock&& other) noexcept;
  RunLock& operator=(RunLock&& other) noexcept;
  ~RunLock();

 private:
  int descriptor_ = -1;
};

// Rank 0 writes a token into the folder and every rank must read it. Collective; AgreedError that names the rank and its
// host where one does not see it.
void require_shared_folder(Communicator& host, const std::string& out);

}  // namespace braid
