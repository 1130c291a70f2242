// SPDX-License-Identifier: Apache-2.0
#include "serve/upstream.h"

#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <limits>

#include "base/error.h"

namespace braid {

namespace {

namespace net = boost::asio;
namespace http = boost::beast::http;
using net::ip::tcp;

constexpr double connect_seconds = 5;

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

http::request<http::string_body> message_of(const UpstreamAddress& address, const UpstreamRequest& request) {
  http::request<http::string_body> message(http::string_to_verb(request.method), request.target, 11);
  message.set(http::field::host, address.host + ":" + address.port);
  message.set(http::field::connection, "close");
  for (const auto& [name, value] : request.headers) message.set(name, value);
  message.body() = request.body;
  message.prepare_payload();
  return message;
}

HttpReply head_of(const http::response_header<>& header) {
  HttpReply head{static_cast<int>(header.result_int()), "", std::string(header[http::field::content_type]), {}};
  for (const auto& field : header) head.headers.emplace_back(field.name_string(), field.value());
  return head;
}

class Connection final : public Upstream, public std::enable_shared_from_this<Connection> {
 public:
  Connection(net::io_context& loop, const UpstreamAddress& address, const UpstreamRequest& request,
             UpstreamHandlers handlers, double all_seconds)
      : stream_(loop),
        resolver_(loop),
        address_(address),
        message_(message_of(address, request)),
        handlers_(std::move(handlers)),
        all_seconds_(all_seconds) {
    parser_.body_limit(std::numeric_limits<uint64_t>::max());
  }

 private:
  using Error = boost::system::error_code;

  // A step of the connection. One that throws, or that is never called, for want of memory within a library, ends it.
  template <class Act>
  class Guarded {
   public:
    Guarded(std::shared_ptr<Connection> connection, Act act) : connection_(std::move(connection)), act_(std::move(act)) {}
    Guarded(Guarded&&) noexcept = default;
    ~Guarded() {
      try {
        if (connection_) connection_->end(upstream_out_of_memory);
      } catch (const std::bad_alloc&) {  // whoever asked has no memory either
      }
    }
    template <class... More>
    void operator()(const Error& error, const More&... more) {
      const auto connection = std::exchange(connection_, nullptr);
      if (connection->ended_) return;
      try {
        act_(error, more...);
      } catch (const std::bad_alloc&) {
        connection->end(upstream_out_of_memory);
      }
    }

   private:
    std::shared_ptr<Connection> connection_;
    Act act_;
  };

  template <class Act>
  Guarded<Act> guarded(Act act) {
    return {shared_from_this(), std::move(act)};
  }

 public:
  void start() {
    stream_.expires_after(milliseconds(all_seconds_ > 0 ? all_seconds_ : connect_seconds));
    Error unnamed;
    const auto known = net::ip::make_address(address_.host, unnamed);
    if (!unnamed) return connect(tcp::endpoint(known, static_cast<uint16_t>(std::stoi(address_.port))));
    resolver_.async_resolve(address_.host, address_.port,
                            guarded([this](const Error& error, const tcp::resolver::results_type& found) {
                              error ? end(error.message()) : connect(found.begin()->endpoint());
                            }));
  }

  void close() override {
    ended_ = true;
    resolver_.cancel();
    stream_.close();
  }

 private:
  void connect(const tcp::endpoint& endpoint) {
    stream_.async_connect(endpoint, guarded([this](const Error& error) { error ? end(error.message()) : write(); }));
  }

  void write() {
    Error ignored;
    stream_.socket().set_option(tcp::no_delay(true), ignored);
    stream_.socket().set_option(tcp::socket::keep_alive(true), ignored);  // a host that is gone says nothing
    if (all_seconds_ == 0) stream_.expires_never();
    http::async_write(stream_, message_, guarded([this](const Error& error, size_t) {
                        error ? end(error.message()) : read_header();
                      }));
  }

  void read_header() {
    http::async_read_header(stream_, buffer_, parser_, guarded([this](const Error& error, size_t) {
                              if (error) return end(error.message());
                              handlers_.on_head(head_of(parser_.get()));
                              if (!ended_) read_some();
                            }));
  }

  void read_some() {
    if (parser_.is_done()) return end("");
    http::async_read_some(stream_, buffer_, parser_, guarded([this](const Error& error, size_t) {
                            const std::string piece = std::exchange(parser_.get().body(), {});
                            if (!piece.empty()) handlers_.on_piece(piece);
                            if (ended_) return;
                            error ? end(error.message()) : read_some();
                          }));
  }

  void end(const std::string& problem) {
    if (ended_) return;
    const auto self = shared_from_this();
    close();
    handlers_.on_end(problem);
  }

  boost::beast::tcp_stream stream_;
  tcp::resolver resolver_;
  UpstreamAddress address_;
  http::request<http::string_body> message_;
  UpstreamHandlers handlers_;
  double all_seconds_;
  boost::beast::flat_buffer buffer_;
  http::response_parser<http::string_body> parser_;
  bool ended_ = false;
};

}  // namespace

UpstreamAddress parse_upstream_url(const std::string& option, const std::string& url) {
  constexpr const char* scheme = "http://";
  std::string place = url.starts_with(scheme) ? url.substr(std::string(scheme).size()) : "";
  if (place.ends_with('/')) place.pop_back();
  const size_t colon = place.rfind(':');
  const std::string host = place.substr(0, colon), port = colon == std::string::npos ? "" : place.substr(colon + 1);
  const bool number = !port.empty() && port.size() <= 5 && port.find_first_not_of("0123456789") == std::string::npos;
  if (host.empty() || host.find_first_of("/ \t\r\n@?#") != std::string::npos || !number || std::stoi(port) > 65535) {
    throw UsageError(str(option, " ", url, ": expected http://HOST:PORT"));
  }
  return {host, port};
}

std::shared_ptr<Upstream> ask_upstream(net::io_context& loop, const UpstreamAddress& address,
                                       const UpstreamRequest& request, UpstreamHandlers handlers, double all_seconds) {
  const auto connection = std::make_shared<Connection>(loop, address, request, std::move(handlers), all_seconds);
  connection->start();
  return connection;
}

}  // namespace braid
