// SPDX-License-Identifier: Apache-2.0
#include "comm/heartbeat.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "comm/shielded_thread.h"

namespace braid {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds beat_interval(1000), longest_poll(200), own_pause(1000);
constexpr double goodbye_seconds = 2;
constexpr size_t longest_frame = 64 << 20, longest_queue = 256 << 10;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

struct Peer {
  HeartbeatPeer self;
  Contact contact = Contact::answers;
  Clock::time_point heard = Clock::now();
  std::string last_beat;
};

struct Outgoing {
  int rank;
  FrameKind kind;
  std::string text;
};

}  // namespace

struct Heartbeat::State {
  State(std::vector<HeartbeatPeer> met, HeartbeatHandlers given)
      : handlers(std::move(given)), wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    for (HeartbeatPeer& peer : met) peers.emplace_back().self = std::move(peer);
  }

  void run() {
    while (!ending) {
      round();
      handlers.tick();
    }
    leave();
  }

  void wake_up() {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(wake.number(), &one, sizeof one);
  }

  void round() {
    wait();
    note_own_pause();
    for (Peer& peer : peers) hear(peer);  // before silence is judged: after a pause of our own, much may lie there
    if (Clock::now() >= next_beat) beat();
    take_outgoing();
    for (Peer& peer : peers) peer.self.socket.send_queued();
    for (Peer& peer : peers) judge_silence(peer);
  }

  void wait() {
    std::vector<pollfd> all = {{wake.number(), POLLIN, 0}};
    for (const Peer& peer : peers) {
      const FrameSocket& socket = peer.self.socket;
      if (socket.is_open())
        all.push_back({socket.descriptor(), static_cast<short>(socket.queued_bytes() ? POLLIN | POLLOUT : POLLIN), 0});
    }
    ::poll(all.data(), all.size(), longest_poll.count());
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t drained = ::read(wake.number(), &count, sizeof count);
  }

  // A process that was stopped (SIGSTOP, a suspended job) has heard nobody; that is not their silence.
  void note_own_pause() {
    const auto now = Clock::now();
    const auto gap = now - last_round;
    last_round = now;
    if (gap < own_pause) return;
    const std::lock_guard lock(mutex);
    awake = now;
    for (Peer& peer : peers) peer.heard += gap;
  }

  void hear(Peer& peer) {
    if (!peer.self.socket.is_open()) return;
    const std::vector<Frame> frames = peer.self.socket.read(longest_frame);
    if (!frames.empty()) {
      const std::lock_guard lock(mutex);
      peer.heard = Clock::now();
    }
    for (const Frame& frame : frames) take(peer, frame);
    if (peer.self.socket.is_open() && peer.self.socket.ended()) {
      peer.self.socket.close();
      lose(peer, Contact::closed);
    }
  }

  void take(Peer& peer, const Frame& frame) {
    if (frame.kind == FrameKind::goodbye) {
      set_contact(peer, Contact::left);
      peer.self.socket.close();
    } else if (frame.kind == FrameKind::beat) {
      const std::lock_guard lock(mutex);
      peer.last_beat = frame.text;
    } else if (!leaving) {
      handlers.received(peer.self.rank, frame);
    }
  }

  void set_contact(Peer& peer, Contact contact) {
    const std::lock_guard lock(mutex);
    peer.contact = contact;
  }

  void lose(Peer& peer, Contact contact) {
    set_contact(peer, contact);
    if (!leaving) handlers.lost(peer.self.rank, contact);
  }

  void judge_silence(Peer& peer) {
    if (peer.contact == Contact::answers && seconds_between(peer.heard, Clock::now()) > timeout)
      lose(peer, Contact::silent);
  }

  // A peer that takes nothing gets no more than a bounded heap of beats.
  void beat() {
    next_beat = Clock::now() + beat_interval;
    const std::string text = handlers.beat();
    for (Peer& peer : peers) {
      FrameSocket& socket = peer.self.socket;
      if (socket.is_open() && socket.queued_bytes() < longest_queue) socket.queue(FrameKind::beat, text);
    }
  }

  void take_outgoing() {
    std::vector<Outgoing> taken;
    {
      const std::lock_guard lock(mutex);
      taken.swap(outgoing);
    }
    for (const Outgoing& frame : taken) {
      for (Peer& peer : peers) {
        if (peer.self.rank == frame.rank && peer.self.socket.is_open()) peer.self.socket.queue(frame.kind, frame.text);
      }
    }
  }

  // A connection closed with unread data would destroy the goodbye on its way, so the other end closes first.
  void leave() {
    leaving = true;
    take_outgoing();
    for (Peer& peer : peers) {
      if (peer.self.socket.is_open()) peer.self.socket.queue(FrameKind::goodbye);
    }
    const Stopwatch watch;
    const auto is_open = [](const Peer& peer) { return peer.self.socket.is_open(); };
    while (watch.seconds() < goodbye_seconds && std::any_of(peers.begin(), peers.end(), is_open)) {
      for (Peer& peer : peers) say_last(peer.self.socket);
      wait();
      for (Peer& peer : peers) hear(peer);
    }
  }

  void say_last(FrameSocket& socket) {
    if (!socket.is_open()) return;
    socket.send_queued();
    if (socket.queued_bytes() == 0) socket.shut_output();
  }

  HeartbeatHandlers handlers;
  Descriptor wake;
  std::vector<Peer> peers;  // the list does not change; contact, heard and last_beat are guarded by the mutex
  mutable std::mutex mutex;
  std::vector<Outgoing> outgoing;
  std::atomic<double> timeout{30};
  std::atomic<bool> ending{false};
  bool leaving = false;  // of the thread alone, as are those
  Clock::time_point next_beat = Clock::now(), last_round = Clock::now();
  Clock::time_point awake = Clock::now();
  std::thread thread;
};

Heartbeat::Heartbeat(std::vector<HeartbeatPeer> peers, HeartbeatHandlers handlers)
    : state_(std::make_unique<State>(std::move(peers), std::move(handlers))) {}

void Heartbeat::start() {
  state_->last_round = Clock::now();
  state_->thread = shielded_thread([state = state_.get()] { state->run(); });
}

Heartbeat::~Heartbeat() { stop(); }

void Heartbeat::stop() {
  state_->ending = true;
  state_->wake_up();
  if (state_->thread.joinable()) state_->thread.join();
}

void Heartbeat::set_timeout(double seconds) { state_->timeout = seconds; }

void Heartbeat::send(int rank, FrameKind kind, const std::string& text) {
  {
    const std::lock_guard lock(state_->mutex);
    state_->outgoing.push_back({rank, kind, text});
  }
  state_->wake_up();
}

void Heartbeat::send_all(FrameKind kind, const std::string& text) {
  for (const Peer& peer : state_->peers) send(peer.self.rank, kind, text);
}

std::vector<PeerContact> Heartbeat::contacts() const {
  const auto now = Clock::now();
  std::vector<PeerContact> found;
  const std::lock_guard lock(state_->mutex);
  for (const Peer& peer : state_->peers) {
    found.push_back(
        {peer.self.rank, peer.self.process, peer.contact, seconds_between(peer.heard, now), peer.last_beat});
  }
  return found;
}

Clock::time_point Heartbeat::awake_since() const {
  const std::lock_guard lock(state_->mutex);
  return state_->awake;
}

}  // namespace braid
