// SPDX-License-Identifier: Apache-2.0
#include "comm/frame_socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "base/clock.h"

namespace braid {

namespace {

constexpr size_t header_bytes = 5;  // length of the text, then the kind
constexpr auto last_kind = static_cast<uint8_t>(FrameKind::ending);

void set_option(int socket, int level, int option) {
  const int on = 1;
  setsockopt(socket, level, option, &on, sizeof on);
}

int open_socket(int flags) { return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0); }

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK; }

sockaddr_in ipv4(in_addr_t address, int port) {
  sockaddr_in result = {};
  result.sin_family = AF_INET;
  result.sin_addr.s_addr = address;
  result.sin_port = htons(static_cast<uint16_t>(port));
  return result;
}

bool wait_for(int descriptor, short events, double seconds) {
  pollfd waiting = {descriptor, events, 0};
  return ::poll(&waiting, 1, static_cast<int>(std::lround(std::max(seconds, 0.0) * 1000))) > 0;
}

// Connected, or the reason why not is lost: all addresses are tried in turn.
bool finish_connecting(int socket, const sockaddr_in& address, double seconds) {
  if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return true;
  if (errno != EINPROGRESS) return false;
  const Stopwatch watch;
  while (!wait_for(socket, POLLOUT, seconds - watch.seconds())) {
    if (watch.seconds() >= seconds) return false;
  }
  int problem = 0;
  socklen_t length = sizeof problem;
  return getsockopt(socket, SOL_SOCKET, SO_ERROR, &problem, &length) == 0 && problem == 0;
}

}  // namespace

void Descriptor::close() {
  if (number_ >= 0) ::close(number_);
  number_ = -1;
}

FrameSocket::FrameSocket(Descriptor connected) : descriptor_(std::move(connected)) {
  const int socket = descriptor_.number();
  fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) | O_NONBLOCK);
  set_option(socket, IPPROTO_TCP, TCP_NODELAY);
  set_option(socket, SOL_SOCKET, SO_KEEPALIVE);
}

void FrameSocket::queue(FrameKind kind, const std::string& text) {
  const auto length = static_cast<uint32_t>(text.size());
  char header[header_bytes];
  std::memcpy(header, &length, 4);
  header[4] = static_cast<char>(kind);
  out_.append(header, header_bytes).append(text);
}

void FrameSocket::send_queued() {
  while (!out_.empty() && is_open()) {
    const ssize_t sent = ::send(descriptor_.number(), out_.data(), out_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      out_.erase(0, static_cast<size_t>(sent));
    } else if (sent < 0 && errno == EINTR) {
      continue;
    } else {
      if (!would_block()) out_.clear();
      return;
    }
  }
}

void FrameSocket::shut_output() { ::shutdown(descriptor_.number(), SHUT_WR); }

void FrameSocket::receive(size_t longest) {
  char part[16 << 10];
  while (in_.size() < longest + header_bytes) {
    const ssize_t got = ::recv(descriptor_.number(), part, sizeof part, MSG_DONTWAIT);
    if (got > 0) {
      in_.append(part, static_cast<size_t>(got));
    } else if (got < 0 && errno == EINTR) {
      continue;
    } else {
      ended_ = ended_ || got == 0 || !would_block();
      return;
    }
  }
}

std::vector<Frame> FrameSocket::read(size_t longest) {
  receive(longest);
  std::vector<Frame> frames;
  size_t first = 0;
  while (in_.size() - first >= header_bytes) {
    uint32_t length = 0;
    std::memcpy(&length, in_.data() + first, 4);
    const auto kind = static_cast<uint8_t>(in_[first + 4]);
    if (length > longest || kind > last_kind) {
      ended_ = true;
      break;
    }
    if (in_.size() - first < header_bytes + length) break;
    frames.push_back({static_cast<FrameKind>(kind), in_.substr(first + header_bytes, length)});
    first += header_bytes + length;
  }
  in_.erase(0, first);
  return frames;
}

Descriptor listen_somewhere(bool loopback_only, int& port) {
  Descriptor listener(open_socket(SOCK_NONBLOCK));
  sockaddr_in address = ipv4(htonl(loopback_only ? INADDR_LOOPBACK : INADDR_ANY), 0);
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (!listener.is_open() || bind(listener.number(), generic, length) != 0 ||
      listen(listener.number(), SOMAXCONN) != 0 || getsockname(listener.number(), generic, &length) != 0) {
    return Descriptor();
  }
  port = ntohs(address.sin_port);
  return listener;
}

std::vector<std::string> own_addresses() {
  std::vector<std::string> addresses;
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) == 0) {
    for (const ifaddrs* one = all; one; one = one->ifa_next) {
      const bool usable = (one->ifa_flags & IFF_UP) && !(one->ifa_flags & IFF_LOOPBACK);
      if (!usable || !one->ifa_addr || one->ifa_addr->sa_family != AF_INET) continue;
      char text[INET_ADDRSTRLEN] = {};
      inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr, text, sizeof text);
      addresses.push_back(text);
    }
    freeifaddrs(all);
  }
  addresses.push_back(host_name());
  return addresses;
}

Descriptor connect_to(const std::string& address, int port, double seconds) {
  addrinfo wanted = {}, *found = nullptr;
  wanted.ai_family = AF_INET;
  wanted.ai_socktype = SOCK_STREAM;
  if (getaddrinfo(address.c_str(), nullptr, &wanted, &found) != 0) return Descriptor();
  const auto ip = reinterpret_cast<const sockaddr_in*>(found->ai_addr)->sin_addr.s_addr;
  freeaddrinfo(found);
  Descriptor socket(open_socket(SOCK_NONBLOCK));
  if (!socket.is_open() || !finish_connecting(socket.number(), ipv4(ip, port), seconds)) return Descriptor();
  return socket;
}

bool wait_readable(int descriptor, double seconds) { return wait_for(descriptor, POLLIN, seconds); }

}  // namespace braid
