// SPDX-License-Identifier: Apache-2.0
// A beat a second between every rank and rank 0 over TCP, on a thread that calls neither MPI nor NCCL: a rank that is
// stopped, dead or cut off is noticed while all others sit in a collective. The same connections carry what the
// watchdog has to say.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/blame.h"
#include "comm/heartbeat_meeting.h"

namespace braid {

// Called on the heartbeat's thread; they must not block.
struct HeartbeatHandlers {
  std::function<std::string()> beat;  // what a beat carries: the last collective of this rank
  // Once for a peer that ended without a goodbye, or was silent for longer than the time-out.
  std::function<void(int rank, Contact contact)> lost;
  std::function<void(int rank, const Frame& frame)> received;  // frames that are not the heartbeat's own
  std::function<void()> tick;                                  // a few times a second
};

struct PeerContact {
  int rank = 0;
  int64_t process = 0;
  Contact contact = Contact::answers;
  double silent_seconds = 0;  // since something was last heard
  std::string last_beat;
};

class Heartbeat {
 public:
  Heartbeat(std::vector<HeartbeatPeer> peers, HeartbeatHandlers handlers);
  void start();
  void stop();   // says goodbye, and waits up to two seconds until the others have heard it
  ~Heartbeat();  // stops
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

  void set_timeout(double seconds);                                   // 30 at first
  void send(int rank, FrameKind kind, const std::string& text = "");  // dropped where there is no connection
  void send_all(FrameKind kind, const std::string& text = "");
  std::vector<PeerContact> contacts() const;
  // When this process last came back from being stopped itself: what happened in between is nobody's silence.
  std::chrono::steady_clock::time_point awake_since() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace braid
