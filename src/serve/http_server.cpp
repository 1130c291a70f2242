// SPDX-License-Identifier: Apache-2.0
#include "serve/http_server.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/until_it_fits.h"
#include "serve/http_session.h"

namespace braid {

namespace net = boost::asio;
using net::ip::tcp;

struct HttpServer::Parts {
  net::io_context io{1};
  net::executor_work_guard<net::io_context::executor_type> work = net::make_work_guard(io);
  tcp::acceptor acceptor{io};
  net::steady_timer pause{io};
  HttpSessions sessions;
  uint16_t port = 0;
  std::thread thread;

  class Accepted;

  void accept();
  void accept_soon();
  void take(tcp::socket socket);
  void run();
};

void HttpServer::Parts::take(tcp::socket socket) {
  std::shared_ptr<HttpSession> session;
  try {
    session = std::make_shared<HttpSession>(std::move(socket), sessions);
    session->open();
    if (sessions.open.size() <= sessions.limits.connections) return session->start();
    session->refuse(503, str("more than ", sessions.limits.connections, " connections"));
  } catch (const std::bad_alloc&) {
    if (session) session->close();
  }
}

// The next connection. Where the library has no memory to bring it, this is destroyed without being called: then, too,
// the server goes on to accept.
class HttpServer::Parts::Accepted {
 public:
  explicit Accepted(Parts& parts) : parts_(&parts) {}
  Accepted(Accepted&& other) noexcept : parts_(std::exchange(other.parts_, nullptr)) {}
  ~Accepted() {
    if (parts_) parts_->accept_soon();
  }
  void operator()(const boost::system::error_code& error, tcp::socket socket) {
    Parts& parts = *std::exchange(parts_, nullptr);
    if (error == net::error::operation_aborted) return;
    if (error) return parts.accept_soon();
    parts.take(std::move(socket));
    parts.accept();
  }

 private:
  Parts* parts_;
};

void HttpServer::Parts::accept() {
  try {
    acceptor.async_accept(Accepted(*this));
  } catch (const std::bad_alloc&) {  // what was handed over has begun again
  }
}

// Where there are no descriptors left, or no memory, that of clients that go makes room.
void HttpServer::Parts::accept_soon() {
  until_it_fits([this] {
    pause.expires_after(std::chrono::milliseconds(100));
    pause.async_wait([this](const boost::system::error_code& ended) {
      if (!ended) accept();
    });
  });
}

// What a handler throws, for want of memory, is the trouble of the connection it belongs to.
void HttpServer::Parts::run() {
  while (true) {
    try {
      io.run();
      return;
    } catch (const std::bad_alloc&) {
    }
  }
}

HttpServer::HttpServer(const std::string& host, uint16_t port, const HttpLimits& limits, HttpHandlers handlers)
    : parts_(new Parts) {
  Parts& p = *parts_;
  p.sessions.limits = limits;
  p.sessions.handlers = std::move(handlers);
  try {
    tcp::resolver resolver(p.io);
    const tcp::endpoint endpoint = *resolver.resolve(host, std::to_string(port), tcp::resolver::passive).begin();
    p.acceptor.open(endpoint.protocol());
    p.acceptor.set_option(tcp::acceptor::reuse_address(true));
    p.acceptor.bind(endpoint);
    p.acceptor.listen();
    p.port = p.acceptor.local_endpoint().port();
  } catch (const boost::system::system_error& problem) {
    throw UsageError(str("cannot listen on ", host, ":", port, ": ", problem.code().message()));
  }
}

void HttpServer::start() {
  Parts& p = *parts_;
  p.accept();
  p.thread = std::thread([&p] { p.run(); });
}

HttpServer::~HttpServer() { stop(); }

uint16_t HttpServer::port() const { return parts_->port; }

net::io_context& HttpServer::loop() { return parts_->io; }

void HttpServer::post(std::function<void()> act) { net::post(parts_->io, std::move(act)); }

HttpCounts HttpServer::counts() const {
  const HttpSessions& sessions = parts_->sessions;
  return {sessions.connections, sessions.answering, sessions.dropped};
}

void HttpServer::drain() {
  post([&sessions = parts_->sessions] {
    sessions.draining = true;
    const auto all = sessions.open;  // those that end leave it
    for (const auto& session : all) session->end_if_idle();
  });
}

void HttpServer::stop() {
  Parts& p = *parts_;
  if (!p.thread.joinable()) return;
  post([&p] {
    boost::system::error_code ignored;
    p.acceptor.close(ignored);
    p.pause.cancel();
    const auto all = p.sessions.open;
    for (const auto& session : all) session->close();
    p.work.reset();
  });
  p.thread.join();
}

}  // namespace braid
