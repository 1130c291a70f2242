// SPDX-License-Identifier: Apache-2.0
// A client on a plain socket, which can also say what no client should.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace braid {

struct TestReply {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;

  nlohmann::json json() const { return nlohmann::json::parse(body); }
  // What stands behind "data: ".
  std::vector<std::string> events() const {
    std::vector<std::string> all;
    for (size_t at = 0; (at = body.find("data: ", at)) != std::string::npos;) {
      const size_t end = body.find("\n\n", at);
      all.push_back(body.substr(at + 6, end - at - 6));
      at = end;
    }
    return all;
  }
};

class TestClient {
 public:
  explicit TestClient(uint16_t port, int receive_bytes = 0) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_bytes > 0) setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error("connect");
  }
  TestClient(TestClient&& other) noexcept : socket_(std::exchange(other.socket_, -1)), held_(std::move(other.held_)) {}
  TestClient(const TestClient&) = delete;
  ~TestClient() { close(); }

  void close() {
    if (socket_ >= 0) ::close(std::exchange(socket_, -1));
  }
  void end_of_sending() { shutdown(socket_, SHUT_WR); }

  bool send(const std::string& bytes) {
    for (size_t sent = 0; sent < bytes.size();) {
      const ssize_t now = ::send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (now <= 0) return false;
      sent += static_cast<size_t>(now);
    }
    return true;
  }

  void post(const std::string& path, const std::string& body, const std::string& headers = "") {
    send("POST " + path + " HTTP/1.1\r\nHost: test\r\n" + headers + "Content-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body);
  }
  void post(const std::string& path, const nlohmann::json& body, const std::string& headers = "") {
    post(path, body.dump(), headers);
  }
  void get(const std::string& path, const std::string& headers = "") {
    send("GET " + path + " HTTP/1.1\r\nHost: test\r\n" + headers + "\r\n");
  }

  // Waits for more bytes; false once the server has ended the connection, or after so many milliseconds.
  bool more(int milliseconds = 10000) {
    pollfd waiting = {socket_, POLLIN, 0};
    if (poll(&waiting, 1, milliseconds) <= 0) return false;
    char bytes[4096];
    const ssize_t now = recv(socket_, bytes, sizeof bytes, 0);
    if (now <= 0) return false;
    held_.append(bytes, static_cast<size_t>(now));
    return true;
  }

  bool ended(int milliseconds = 10000) {
    while (more(milliseconds)) {
    }
    pollfd waiting = {socket_, POLLIN, 0};
    return poll(&waiting, 1, 0) == 1;
  }

  bool wait_for(const std::string& text) {
    while (held_.find(text) == std::string::npos) {
      if (!more()) return false;
    }
    return true;
  }

  // The next reply; status 0 when the connection ends before it is complete.
  TestReply reply(bool with_body = true) {
    TestReply reply;
    if (!wait_for("\r\n\r\n")) return reply;
    read_head(reply);
    if (!with_body) return reply;
    const bool complete = reply.headers.count("transfer-encoding") ? read_chunks(reply) : read_length(reply);
    if (!complete) reply.status = 0;
    return reply;
  }

  std::string held() const { return held_; }

 private:
  std::string take(size_t bytes) {
    std::string text = held_.substr(0, bytes);
    held_.erase(0, bytes);
    return text;
  }

  void read_head(TestReply& reply) {
    std::string head = take(held_.find("\r\n\r\n") + 4);
    reply.status = std::stoi(head.substr(9, 3));
    for (size_t at = head.find("\r\n") + 2; head.compare(at, 2, "\r\n") != 0;) {
      const size_t colon = head.find(": ", at), end = head.find("\r\n", at);
      std::string name = head.substr(at, colon - at);
      for (char& c : name) c = static_cast<char>(tolower(c));
      reply.headers[name] = head.substr(colon + 2, end - colon - 2);
      at = end + 2;
    }
  }

  bool read_length(TestReply& reply) {
    const auto length = static_cast<size_t>(std::stoul(reply.headers.at("content-length")));
    while (held_.size() < length) {
      if (!more()) return false;
    }
    reply.body = take(length);
    return true;
  }

  bool read_chunks(TestReply& reply) {
    while (true) {
      if (!wait_for("\r\n")) return false;
      const size_t size = std::stoul(take(held_.find("\r\n") + 2), nullptr, 16);
      while (held_.size() < size + 2) {
        if (!more()) return false;
      }
      reply.body += take(size);
      take(2);
      if (size == 0) return true;
    }
  }

  int socket_;
  std::string held_;
};

// A request on a connection of its own.
inline TestReply post_to(uint16_t port, const std::string& path, const nlohmann::json& body, const std::string& headers) {
  TestClient one(port);
  one.post(path, body, headers);
  return one.reply();
}
inline TestReply get_from(uint16_t port, const std::string& path, const std::string& headers) {
  TestClient one(port);
  one.get(path, headers);
  return one.reply();
}

}  // namespace braid
