// SPDX-License-Identifier: Apache-2.0
#include "serve/stream_load.h"

#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/error.h"

namespace braid {

namespace {

namespace net = boost::asio;
namespace http = boost::beast::http;
using Problem = boost::system::error_code;
using Addresses = net::ip::tcp::resolver::results_type;
using Request = http::request<http::string_body>;

Request request_of(const LoadTarget& target, const std::string& method, const std::string& route, std::string body) {
  Request request(http::string_to_verb(method), target.path + route, 11);
  request.set(http::field::host, target.host + ":" + target.port);
  request.set(http::field::user_agent, "braid");
  request.set(http::field::connection, "close");
  if (!target.api_key.empty()) request.set(http::field::authorization, "Bearer " + target.api_key);
  if (!body.empty()) request.set(http::field::content_type, "application/json");
  request.body() = std::move(body);
  request.prepare_payload();
  return request;
}

Addresses addresses_of(net::io_context& io, const LoadTarget& target) {
  Problem problem;
  Addresses found = net::ip::tcp::resolver(io).resolve(target.host, target.port, problem);
  if (problem) throw Error(str("http://", target.host, ":", target.port, ": ", problem.message()));
  return found;
}

std::string first_line(const std::string& text) { return text.substr(0, std::min<size_t>(text.find('\n'), 200)); }

// What the events of a stream tell.
class EventReader {
 public:
  EventReader(StreamTiming& timing, const Stopwatch& watch) : timing_(timing), watch_(watch) {}

  void push(std::string_view bytes) {
    held_ += bytes;
    for (size_t end; (end = held_.find("\n\n")) != std::string::npos; held_.erase(0, end + 2))
      event(held_.substr(0, end));
  }
  bool is_done() const { return done_; }

 private:
  void event(const std::string& text) {
    constexpr std::string_view begin = "data: ";
    if (!text.starts_with(begin)) return;
    const std::string data = text.substr(begin.size());
    if (data == "[DONE]") {
      done_ = true;
      return;
    }
    const nlohmann::json piece = nlohmann::json::parse(data, nullptr, false);
    if (piece.is_discarded()) return fail("an event that is no JSON");
    if (piece.contains("error")) return fail(first_line(piece["error"].value("message", data)));
    if (const auto usage = piece.find("usage"); usage != piece.end() && usage->is_object()) {
      timing_.prompt_tokens = usage->value("prompt_tokens", int64_t{0});
      timing_.tokens = usage->value("completion_tokens", int64_t{0});
    }
    for (const nlohmann::json& choice : piece.value("choices", nlohmann::json::array())) {
      if (!choice.value("text", "").empty()) timing_.pieces.push_back(watch_.seconds());
    }
  }
  void fail(const std::string& why) {
    if (timing_.problem.empty()) timing_.problem = why;
  }

  StreamTiming& timing_;
  const Stopwatch& watch_;
  std::string held_;
  bool done_ = false;
};

// One request on a connection of its own.
class StreamCall : public std::enable_shared_from_this<StreamCall> {
 public:
  StreamCall(net::io_context& io, Request request, double timeout_seconds, StreamTiming& timing,
             std::function<void()> on_end)
      : stream_(io),
        request_(std::move(request)),
        timing_(timing),
        events_(timing, watch_),
        on_end_(std::move(on_end)) {
    parser_.body_limit(boost::none);
    stream_.expires_after(std::chrono::milliseconds(static_cast<int64_t>(1000 * timeout_seconds)));
  }

  void start(const Addresses& addresses) {
    const auto self = shared_from_this();
    stream_.async_connect(addresses, [self](const Problem& problem, const auto&) {
      if (problem) return self->end(problem);
      http::async_write(self->stream_, self->request_, [self](const Problem& unsent, size_t) {
        if (unsent) return self->end(unsent);
        http::async_read_header(self->stream_, self->buffer_, self->parser_,
                                [self](const Problem& unread, size_t) { unread ? self->end(unread) : self->read(); });
      });
    });
  }

 private:
  void read() {
    if (parser_.is_done()) return end({});
    parser_.get().body().data = bytes_.data();
    parser_.get().body().size = bytes_.size();
    const auto self = shared_from_this();
    http::async_read_some(stream_, buffer_, parser_, [self](const Problem& problem, size_t) {
      self->take(bytes_read(*self));
      if (problem && problem != http::error::need_buffer) return self->end(problem);
      self->read();
    });
  }
  static size_t bytes_read(StreamCall& call) { return call.bytes_.size() - call.parser_.get().body().size; }

  void take(size_t count) {
    const std::string_view bytes(bytes_.data(), count);
    if (parser_.get().result() == http::status::ok) return events_.push(bytes);
    refusal_ += bytes;
  }

  void end(const Problem& problem) {
    timing_.whole = watch_.seconds();
    const bool refused = parser_.is_header_done() && parser_.get().result() != http::status::ok;
    if (refused) timing_.problem = str("status ", parser_.get().result_int(), ": ", first_line(refusal_));
    if (timing_.problem.empty() && !events_.is_done())
      timing_.problem = problem ? problem.message() : "the stream broke off";
    Problem ignored;
    stream_.socket().shutdown(net::ip::tcp::socket::shutdown_both, ignored);
    on_end_();
  }

  boost::beast::tcp_stream stream_;
  boost::beast::flat_buffer buffer_;
  http::response_parser<http::buffer_body> parser_;
  std::array<char, 8192> bytes_;
  Request request_;
  const Stopwatch watch_;
  StreamTiming& timing_;
  EventReader events_;
  std::string refusal_;
  std::function<void()> on_end_;
};

// All clients, on one thread.
class Load {
 public:
  Load(const LoadTarget& target, const std::vector<std::vector<std::string>>& bodies, double timeout_seconds)
      : target_(target), bodies_(bodies), timeout_seconds_(timeout_seconds), addresses_(addresses_of(io_, target)) {
    for (const auto& own : bodies) timings_.emplace_back(own.size());
  }

  std::vector<std::vector<StreamTiming>> run() {
    for (size_t client = 0; client < bodies_.size(); ++client) next(client, 0);
    io_.run();
    return std::move(timings_);
  }

 private:
  void next(size_t client, size_t number) {
    if (number == bodies_[client].size()) return;
    const auto on_end = [this, client, number] { next(client, number + 1); };
    std::make_shared<StreamCall>(io_, request_of(target_, "POST", "/v1/completions", bodies_[client][number]),
                                 timeout_seconds_, timings_[client][number], on_end)
        ->start(addresses_);
  }

  const LoadTarget& target_;
  const std::vector<std::vector<std::string>>& bodies_;
  double timeout_seconds_;
  net::io_context io_;
  Addresses addresses_;
  std::vector<std::vector<StreamTiming>> timings_;
};

}  // namespace

std::vector<std::vector<StreamTiming>> run_load(const LoadTarget& target,
                                                const std::vector<std::vector<std::string>>& bodies,
                                                double timeout_seconds) {
  return Load(target, bodies, timeout_seconds).run();
}

std::string fetch(const LoadTarget& target, const std::string& method, const std::string& route,
                  const std::string& body) {
  const std::string where = str("http://", target.host, ":", target.port, target.path, route, ": ");
  net::io_context io;
  boost::beast::tcp_stream stream(io);
  boost::beast::flat_buffer buffer;
  http::response<http::string_body> reply;
  try {
    stream.connect(addresses_of(io, target));
    http::write(stream, request_of(target, method, route, body));
    http::read(stream, buffer, reply);
  } catch (const boost::system::system_error& problem) {
    throw Error(where + problem.code().message());
  }
  if (reply.result() != http::status::ok)
    throw Error(str(where, "status ", reply.result_int(), ": ", first_line(reply.body())));
  return reply.body();
}

}  // namespace braid
