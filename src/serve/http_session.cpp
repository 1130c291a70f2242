// SPDX-License-Identifier: Apache-2.0
#include "serve/http_session.h"

#include <boost/asio/write.hpp>
#include <boost/beast/http/read.hpp>

#include "base/error.h"
#include "serve/http_text.h"

namespace braid {

namespace {

namespace net = boost::asio;
namespace http = boost::beast::http;

constexpr size_t watch_bytes = 4096;
constexpr double linger_seconds = 2;

// Hands the calls of one exchange to its session.
class SessionExchange final : public Exchange {
 public:
  SessionExchange(const std::shared_ptr<HttpSession>& session, uint64_t serial) : session_(session), serial_(serial) {}

  void reply(HttpReply reply) override {
    send([&](HttpSession& session) { session.send_whole(reply); });
  }
  void begin_stream(HttpReply head) override {
    send([&](HttpSession& session) { session.send_head(head, std::nullopt); });
  }
  void write(std::string piece) override {
    send([&](HttpSession& session) { session.send_piece(std::move(piece)); });
  }
  void end_stream() override {
    send([](HttpSession& session) { session.send_end(); });
  }
  void drop() override {
    if (const auto session = current()) session->close();
  }
  void on_gone(std::function<void()> act) override {
    if (const auto session = current()) return session->set_on_gone(std::move(act));
    act();
  }

 private:
  // What is sent in part must not be begun again: where memory is short, the connection ends.
  template <class Act>
  void send(const Act& act) const {
    const auto session = current();
    if (!session) return;
    try {
      act(*session);
    } catch (const std::bad_alloc&) {
      session->close();
    }
  }

  std::shared_ptr<HttpSession> current() const {
    auto session = session_.lock();
    return session && session->is_current(serial_) ? session : nullptr;
  }

  std::weak_ptr<HttpSession> session_;  // an exchange may outlive the server
  uint64_t serial_;
};

int status_of(const boost::system::error_code& error) {
  if (error == http::error::body_limit) return 413;
  if (error == http::error::header_limit || error == http::error::buffer_overflow) return 431;
  return 400;
}

std::string message_of(int status, const boost::system::error_code& error, const HttpLimits& limits) {
  if (status == 413) return str("the body has more than ", limits.body_bytes, " bytes (--max-body)");
  if (status == 431) return str("the header has more than ", limits.header_bytes, " bytes");
  return str("no HTTP request: ", error.message());
}

}  // namespace

HttpSession::HttpSession(net::ip::tcp::socket socket, HttpSessions& shared)
    : socket_(std::move(socket)),
      shared_(shared),
      read_timer_(socket_.get_executor()),
      write_timer_(socket_.get_executor()),
      buffer_(shared.limits.header_bytes + (64 << 10)) {}

void HttpSession::open() {
  if (shared_.open.insert(shared_from_this()).second) ++shared_.connections;
}

void HttpSession::start() {
  Error ignored;
  socket_.set_option(net::ip::tcp::no_delay(true), ignored);
  watch();
}

// A step of this connection. One that throws, or that is never called, for want of memory within a library, ends it.
template <class Act>
class HttpSession::Guarded {
 public:
  Guarded(std::shared_ptr<HttpSession> session, Act act) : session_(std::move(session)), act_(std::move(act)) {}
  Guarded(Guarded&&) noexcept = default;
  ~Guarded() {
    if (session_) session_->close();
  }
  void operator()(const Error& error, size_t bytes = 0) {
    const auto session = std::exchange(session_, nullptr);
    try {
      act_(*session, error, bytes);
    } catch (const std::exception&) {
      session->close();
    }
  }

 private:
  std::shared_ptr<HttpSession> session_;
  Act act_;
};

template <class Act>
auto HttpSession::guarded(Act act) {
  return Guarded<Act>(shared_from_this(), std::move(act));
}

// Reads whatever comes. Between requests that is the next one's beginning; while one is answered it is how the client's
// going is noticed. Bytes that come early are kept, and nothing more is read before they are used.
void HttpSession::watch() {
  if (watching_ || closed_) return;
  watching_ = true;
  if (!answering_) set_read_deadline(shared_.limits.idle_seconds, Waiting::request);
  const auto read = [](HttpSession& self, const Error& error, size_t bytes) {
    self.watching_ = false;
    if (error) return self.close();
    self.buffer_.commit(bytes);
    if (!self.answering_) self.begin_request();
  };
  socket_.async_read_some(buffer_.prepare(watch_bytes), guarded(read));
}

void HttpSession::begin_request() {
  parser_.emplace();
  parser_->header_limit(static_cast<uint32_t>(shared_.limits.header_bytes));
  parser_->body_limit(shared_.limits.body_bytes);
  set_read_deadline(shared_.limits.request_seconds, Waiting::rest);
  read_header();
}

void HttpSession::read_header() {
  const auto done = [](HttpSession& self, const Error& error, size_t) {
    if (error) return self.read_failed(error);
    const auto expected = self.parser_->get()[http::field::expect];
    if (!boost::beast::iequals(expected, "100-continue")) return self.read_body();
    static const std::string line = "HTTP/1.1 100 Continue\r\n\r\n";
    const auto told = [](HttpSession& self, const Error& problem, size_t) {
      problem ? self.close() : self.read_body();
    };
    net::async_write(self.socket_, net::buffer(line), self.guarded(told));
  };
  http::async_read_header(socket_, buffer_, *parser_, guarded(done));
}

void HttpSession::read_body() {
  const auto done = [](HttpSession& self, const Error& error, size_t) {
    error ? self.read_failed(error) : self.take_request();
  };
  http::async_read(socket_, buffer_, *parser_, guarded(done));
}

void HttpSession::read_failed(const Error& error) {
  if (closed_) return;
  if (timed_out_) {
    return refuse(408, str("the request did not arrive within ", shared_.limits.request_seconds, " s"));
  }
  const bool of_protocol = error.category() == make_error_code(http::error::bad_method).category();
  if (!of_protocol || error == http::error::end_of_stream) return close();
  const int status = status_of(error);
  refuse(status, message_of(status, error, shared_.limits));
}

void HttpSession::take_request() {
  read_timer_.cancel();
  waiting_ = Waiting::nothing;
  auto message = parser_->release();
  const auto field = [&](const char* name) { return std::string(message[name]); };
  HttpRequest request{std::string(message.method_string()),
                      decoded_path(std::string(message.target())),
                      std::move(message.body()),
                      field("Authorization"),
                      field("X-Request-Id"),
                      {}};
  Error unknown;
  const auto client = socket_.remote_endpoint(unknown);
  if (!unknown) request.client = client.address().to_string();
  keep_alive_ = message.keep_alive() && !shared_.draining;
  chunked_ = message.version() >= 11;
  head_only_ = request.method == "HEAD";
  answering_ = true;
  ++shared_.answering;
  auto exchange = std::make_shared<SessionExchange>(shared_from_this(), ++serial_);
  if (buffer_.size() == 0) watch();
  try {
    shared_.handlers.answer(request, exchange);
  } catch (const std::bad_alloc&) {
    exchange->reply(shared_.handlers.refuse(503, "out of memory"));
  } catch (const std::exception& problem) {
    exchange->reply(shared_.handlers.refuse(500, problem.what()));
  }
}

void HttpSession::refuse(int status, const std::string& message) {
  answering_ = true;
  ++shared_.answering;
  ++serial_;
  keep_alive_ = false;
  lingering_ = true;  // the client may still be sending
  send_whole(shared_.handlers.refuse(status, message));
}

void HttpSession::send_head(const HttpReply& head, std::optional<size_t> length) {
  keep_alive_ = keep_alive_ && !shared_.draining && (length || chunked_);
  streaming_ = !length;
  send(reply_head(head, length, chunked_, keep_alive_));
}

void HttpSession::send_whole(const HttpReply& reply) {
  send_head(reply, reply.body.size());
  if (!head_only_ && !reply.body.empty()) send(reply.body);
  send_end();
}

void HttpSession::send_piece(std::string piece) {
  if (piece.empty() || head_only_) return;
  send(chunked_ ? chunk_of(piece) : std::move(piece));
  if (waiting_bytes_ <= shared_.limits.outgoing_bytes) return;
  ++shared_.dropped;
  close();
}

void HttpSession::send_end() {
  if (streaming_ && chunked_ && !head_only_) send(chunk_of(""));
  finishing_ = true;
  if (!writing_) finish_exchange();
}

void HttpSession::send(std::string bytes) {
  if (closed_) return;
  waiting_bytes_ += bytes.size();
  outgoing_.push_back(std::move(bytes));
  if (!writing_) write_some();
}

void HttpSession::write_some() {
  writing_ = true;
  set_write_deadline();
  const std::string& first = outgoing_.front();
  const auto rest = net::buffer(first.data() + sent_of_first_, first.size() - sent_of_first_);
  socket_.async_write_some(
      rest, guarded([](HttpSession& self, const Error& error, size_t bytes) { self.wrote(error, bytes); }));
}

void HttpSession::wrote(const Error& error, size_t bytes) {
  writing_ = false;
  if (error) return close();
  waiting_bytes_ -= bytes;
  sent_of_first_ += bytes;
  if (sent_of_first_ == outgoing_.front().size()) {
    outgoing_.pop_front();
    sent_of_first_ = 0;
  }
  if (!outgoing_.empty()) return write_some();
  write_timer_.cancel();
  if (finishing_) finish_exchange();
}

void HttpSession::finish_exchange() {
  if (closed_ || !answering_) return;
  answering_ = finishing_ = streaming_ = head_only_ = false;
  --shared_.answering;
  on_gone_ = nullptr;
  if (!keep_alive_ || shared_.draining) return lingering_ ? linger() : close();
  if (watching_) return set_read_deadline(shared_.limits.idle_seconds, Waiting::request);
  buffer_.size() > 0 ? begin_request() : watch();
}

// A connection that is closed with bytes unread is reset, and the reply may be lost with it: what still comes is read
// for a while and thrown away.
void HttpSession::linger() {
  Error ignored;
  socket_.shutdown(net::ip::tcp::socket::shutdown_send, ignored);
  set_read_deadline(linger_seconds, Waiting::request);
  discard();
}

void HttpSession::discard() {
  buffer_.clear();
  const auto read = [](HttpSession& self, const Error& error, size_t) { error ? self.close() : self.discard(); };
  socket_.async_read_some(buffer_.prepare(watch_bytes), guarded(read));
}

void HttpSession::end_if_idle() {
  if (!answering_ && waiting_ == Waiting::request) close();
}

void HttpSession::close() {
  if (closed_) return;
  closed_ = true;
  const auto self = shared_from_this();
  if (shared_.open.erase(self) > 0) --shared_.connections;
  Error ignored;
  read_timer_.cancel(ignored);
  write_timer_.cancel(ignored);
  socket_.shutdown(net::ip::tcp::socket::shutdown_both, ignored);
  socket_.close(ignored);
  if (!answering_) return;
  answering_ = false;
  --shared_.answering;
  if (const auto act = std::exchange(on_gone_, nullptr)) act();
}

void HttpSession::set_read_deadline(double seconds, Waiting waiting) {
  waiting_ = waiting;
  read_timer_.expires_after(std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000)));
  read_timer_.async_wait([weak = weak_from_this(), waiting](const Error& error) {
    const auto self = weak.lock();
    if (error || !self || self->closed_ || self->waiting_ != waiting || self->answering_) return;
    if (waiting == Waiting::request) return self->close();
    self->timed_out_ = true;
    Error ignored;
    self->socket_.cancel(ignored);
  });
}

void HttpSession::set_write_deadline() {
  write_timer_.expires_after(std::chrono::milliseconds(static_cast<int64_t>(shared_.limits.stall_seconds * 1000)));
  write_timer_.async_wait([weak = weak_from_this()](const Error& error) {
    const auto self = weak.lock();
    if (error || !self || self->closed_ || !self->writing_) return;
    ++self->shared_.dropped;
    self->close();
  });
}

}  // namespace braid
