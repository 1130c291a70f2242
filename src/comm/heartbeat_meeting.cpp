// SPDX-License-Identifier: Apache-2.0
#include "comm/heartbeat_meeting.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <sstream>

#include "base/clock.h"
#include "base/error.h"

namespace braid {

namespace {

constexpr size_t longest_greeting = 64;  // bytes, of frames from who is not known yet
constexpr double seconds_an_address = 2;

// What rank 0 tells the others: port, secret, addresses.
struct Invitation {
  int port = 0;
  uint64_t secret = 0;
  std::vector<std::string> addresses;

  std::string text() const {
    std::string result = str(port, " ", secret);
    for (const std::string& address : addresses) result += " " + address;
    return result;
  }
  static Invitation from(const std::string& text) {
    Invitation invitation;
    std::istringstream in(text);
    in >> invitation.port >> invitation.secret;
    for (std::string address; in >> address;) invitation.addresses.push_back(address);
    return invitation;
  }
};

uint64_t random_secret() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

// "SECRET RANK PROCESS"; false when it is not from a rank of this job.
bool read_greeting(const std::string& text, uint64_t secret, int& rank, int64_t& process) {
  std::istringstream in(text);
  uint64_t theirs = 0;
  return in >> theirs >> rank >> process && theirs == secret;
}

std::string greeting(uint64_t secret, int rank) { return str(secret, " ", rank, " ", getpid()); }

// Rank 0's part: accepts until every rank has shown the secret.
class Reception {
 public:
  Reception(Descriptor listener, uint64_t secret, int ranks)
      : listener_(std::move(listener)), secret_(secret), ranks_(ranks) {}

  std::vector<HeartbeatPeer> receive(double patience) {
    const Stopwatch watch;
    while (static_cast<int>(peers_.size()) < ranks_ - 1 && watch.seconds() < patience) {
      wait();
      accept_new();
      std::erase_if(guests_, [&](FrameSocket& guest) { return greet(guest); });
    }
    return std::move(peers_);
  }

 private:
  void wait() {
    std::vector<pollfd> all = {{listener_.number(), POLLIN, 0}};
    for (const FrameSocket& guest : guests_) all.push_back({guest.descriptor(), POLLIN, 0});
    ::poll(all.data(), all.size(), 100);
  }

  void accept_new() {
    for (;;) {
      Descriptor connected(::accept4(listener_.number(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!connected.is_open()) return;
      guests_.emplace_back(std::move(connected));
    }
  }

  // Whether the guest needs no more attention: it became a peer, or is a stranger.
  bool greet(FrameSocket& guest) {
    const std::vector<Frame> frames = guest.read(longest_greeting);
    if (frames.empty()) return guest.ended();
    int rank = 0;
    int64_t process = 0;
    if (frames.front().kind != FrameKind::hello || !read_greeting(frames.front().text, secret_, rank, process))
      return true;
    if (rank <= 0 || rank >= ranks_) return true;
    guest.queue(FrameKind::welcome, greeting(secret_, 0));
    guest.send_queued();
    std::erase_if(peers_, [&](const HeartbeatPeer& peer) { return peer.rank == rank; });  // it tried again
    peers_.push_back({rank, process, std::move(guest)});
    return true;
  }

  Descriptor listener_;
  uint64_t secret_;
  int ranks_;
  std::vector<FrameSocket> guests_;
  std::vector<HeartbeatPeer> peers_;
};

// The welcome proves that rank 0 answers and not someone else who listens there.
bool is_welcome(FrameSocket& socket, uint64_t secret, int64_t& process) {
  const Stopwatch watch;
  while (watch.seconds() < seconds_an_address && !socket.ended()) {
    wait_readable(socket.descriptor(), seconds_an_address - watch.seconds());
    for (const Frame& frame : socket.read(longest_greeting)) {
      int rank = -1;
      return frame.kind == FrameKind::welcome && read_greeting(frame.text, secret, rank, process) && rank == 0;
    }
  }
  return false;
}

std::vector<HeartbeatPeer> call_rank_0(const Invitation& invitation, int rank, double patience) {
  std::vector<HeartbeatPeer> peers;
  const Stopwatch watch;
  while (peers.empty() && invitation.port > 0 && watch.seconds() < patience) {
    for (const std::string& address : invitation.addresses) {
      Descriptor connected = connect_to(address, invitation.port, seconds_an_address);
      if (!connected.is_open()) continue;
      FrameSocket socket(std::move(connected));
      socket.queue(FrameKind::hello, greeting(invitation.secret, rank));
      socket.send_queued();
      int64_t process = 0;
      if (!is_welcome(socket, invitation.secret, process)) continue;
      peers.push_back({0, process, std::move(socket)});
      return peers;
    }
    ::poll(nullptr, 0, 100);
  }
  return peers;
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// Hosts may have equal names, and one host may hold several network namespaces.
int64_t network_identity() {
  std::error_code problem;
  const auto network = std::filesystem::read_symlink("/proc/self/ns/net", problem);
  const std::string text = first_line("/proc/sys/kernel/random/boot_id") + " " + network.string() + " " + host_name();
  return static_cast<int64_t>(std::hash<std::string>{}(text));
}

bool share_one_network(Communicator& host) {
  int64_t mine = network_identity();
  std::vector<int64_t> all(static_cast<size_t>(host.size()));
  host.all_gather({&mine, 1, Dtype::int64}, {all.data(), all.size(), Dtype::int64}).wait();
  return std::all_of(all.begin(), all.end(), [&](int64_t one) { return one == all[0]; });
}

// Rank 0 may have welcomed a rank that had given up. All have met before the first beat is sent.
void keep_agreed(Communicator& host, std::vector<HeartbeatPeer>& peers) {
  int64_t connected = !peers.empty();
  std::vector<int64_t> all(static_cast<size_t>(host.size()));
  host.all_gather({&connected, 1, Dtype::int64}, {all.data(), all.size(), Dtype::int64}).wait();
  if (host.rank() == 0) std::erase_if(peers, [&](const HeartbeatPeer& peer) { return all[peer.rank] == 0; });
}

}  // namespace

std::vector<HeartbeatPeer> meet_for_heartbeat(Communicator& host, double patience) {
  const bool one_network = share_one_network(host);
  Invitation invitation;
  Descriptor listener;
  if (host.rank() == 0) {
    listener = listen_somewhere(one_network, invitation.port);
    invitation.secret = random_secret();
    invitation.addresses = one_network ? std::vector<std::string>{"127.0.0.1"} : own_addresses();
  }
  invitation = Invitation::from(broadcast_text(host, invitation.text(), 0));
  std::vector<HeartbeatPeer> peers;
  if (host.rank() > 0)
    peers = call_rank_0(invitation, host.rank(), patience);
  else if (listener.is_open())
    peers = Reception(std::move(listener), invitation.secret, host.size()).receive(patience);
  keep_agreed(host, peers);
  return peers;
}

}  // namespace braid
