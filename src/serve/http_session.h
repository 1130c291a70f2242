// SPDX-License-Identifier: Apache-2.0
// One connection: reads requests, has them answered one after the other, notices when the client goes.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <deque>
#include <optional>
#include <unordered_set>

#include "serve/http_server.h"

namespace braid {

class HttpSession;

// What the sessions of a server share. On the server's thread alone, but for the counts.
struct HttpSessions {
  HttpLimits limits;
  HttpHandlers handlers;
  bool draining = false;
  std::unordered_set<std::shared_ptr<HttpSession>> open;  // alive until they close
  std::atomic<int64_t> connections = 0, answering = 0, dropped = 0;
};

class HttpSession : public std::enable_shared_from_this<HttpSession> {
 public:
  HttpSession(boost::asio::ip::tcp::socket socket, HttpSessions& shared);

  void open();  // one of the server's from here on
  void start();
  void refuse(int status, const std::string& message);  // says so, and ends the connection
  void end_if_idle();
  void close();

  // For the exchange number `serial`; calls of an earlier one do nothing.
  bool is_current(uint64_t serial) const { return answering_ && serial == serial_ && !closed_; }
  void send_head(const HttpReply& head, std::optional<size_t> length);
  void send_piece(std::string piece);
  void send_end();
  void send_whole(const HttpReply& reply);
  void set_on_gone(std::function<void()> act) { on_gone_ = std::move(act); }

 private:
  using Error = boost::system::error_code;
  enum class Waiting { nothing, request, rest };

  template <class Act>
  class Guarded;
  template <class Act>
  auto guarded(Act act);
  void watch();
  void begin_request();
  void read_header();
  void read_body();
  void take_request();
  void read_failed(const Error& error);
  void send(std::string bytes);
  void write_some();
  void wrote(const Error& error, size_t bytes);
  void finish_exchange();
  void linger();
  void discard();
  void set_read_deadline(double seconds, Waiting waiting);
  void set_write_deadline();

  boost::asio::ip::tcp::socket socket_;
  HttpSessions& shared_;
  boost::asio::steady_timer read_timer_, write_timer_;
  boost::beast::flat_buffer buffer_;
  std::optional<boost::beast::http::request_parser<boost::beast::http::string_body>> parser_;

  Waiting waiting_ = Waiting::nothing;  // for what the read timer runs
  bool watching_ = false;               // a read is under way that tells of bytes or of the end
  bool timed_out_ = false, closed_ = false, lingering_ = false;

  uint64_t serial_ = 0;  // of the exchange under way
  bool answering_ = false, finishing_ = false, streaming_ = false;
  bool keep_alive_ = false, chunked_ = false, head_only_ = false;
  std::function<void()> on_gone_;

  std::deque<std::string> outgoing_;
  size_t waiting_bytes_ = 0, sent_of_first_ = 0;
  bool writing_ = false;
};

}  // namespace braid
