// SPDX-License-Identifier: Apache-2.0
// How the TCP connections of the heartbeat come about: every rank to rank 0, once, at start.
#pragma once

#include <vector>

#include "comm/communicator.h"
#include "comm/frame_socket.h"

namespace braid {

struct HeartbeatPeer {
  int rank = 0;
  int64_t process = 0;
  FrameSocket socket;
};

// Rank 0 gets its connections to the others, the others theirs to rank 0. Who cannot connect within `patience` seconds
// is left out. Collective over `host`, through which rank 0 hands out its addresses and a secret that keeps strangers
// out. Only the loopback is used where all ranks share one network stack.
std::vector<HeartbeatPeer> meet_for_heartbeat(Communicator& host, double patience = 20);

}  // namespace braid
