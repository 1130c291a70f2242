// SPDX-License-Identifier: Apache-2.0
// TCP connections that carry short framed texts and never block.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace braid {

// RAII over a file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  ~Descriptor() { close(); }
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      close();
      number_ = std::exchange(other.number_, -1);
    }
    return *this;
  }
  int number() const { return number_; }
  bool is_open() const { return number_ >= 0; }
  void close();

 private:
  int number_;
};

enum class FrameKind : uint8_t {
  hello, welcome,                         // when they meet
  beat, goodbye,                          // the heartbeat's own
  ask_ring, ring, alarm, verdict, heard,  // the end of a job in which a rank is missing
  failing, ending                         // of one in which a rank has thrown
};

struct Frame {
  FrameKind kind;
  std::string text;
};

class FrameSocket {
 public:
  FrameSocket() = default;
  explicit FrameSocket(Descriptor connected);

  int descriptor() const { return descriptor_.number(); }
  bool is_open() const { return descriptor_.is_open(); }
  void close() { descriptor_.close(); }

  void queue(FrameKind kind, const std::string& text = "");
  size_t queued_bytes() const { return out_.size(); }
  void send_queued();  // as much as the system takes; a broken connection shows when reading
  void shut_output();  // nothing more will be queued; the other end sees that after the last frame

  // The whole frames that have arrived. Afterwards ended() says whether the connection has; a frame that is longer than
  // `longest` bytes or of no known kind ends it.
  std::vector<Frame> read(size_t longest);
  bool ended() const { return ended_; }

 private:
  void receive(size_t longest);
  Descriptor descriptor_;
  std::string in_, out_;
  bool ended_ = false;
};

// Listens on a free port of all interfaces, or of the loopback alone. Not open on failure; `port` says where.
Descriptor listen_somewhere(bool loopback_only, int& port);

// Numeric IPv4 addresses of this host's interfaces but the loopback, then the host's name.
std::vector<std::string> own_addresses();

// Tries for so many seconds. Not open on failure.
Descriptor connect_to(const std::string& address, int port, double seconds);

// Waits until one of the descriptors is ready, for so many seconds at most. Interruptions count as nothing ready.
bool wait_readable(int descriptor, double seconds);

}  // namespace braid
