// SPDX-License-Identifier: Apache-2.0
#include "serve/ready_callback.h"

#include <boost/asio/connect.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "serve/refusal.h"

namespace braid {

namespace {

namespace net = boost::asio;
namespace http = boost::beast::http;

constexpr int attempts = 4;
constexpr std::chrono::seconds attempt_limit{10};
constexpr std::chrono::milliseconds first_pause{250};  // twice as long each time

using Post = http::request<http::string_body>;

Post post_of(const CallbackUrl& url, const ReadyNotice& notice) {
  Post post(http::verb::post, url.path, 11);
  post.set(http::field::host, url.host + ":" + url.port);
  post.set(http::field::user_agent, "braid");
  post.set(http::field::content_type, "application/json");
  post.body() = json_text({{"worker_id", notice.worker_id}, {"vram_bytes", notice.memory_bytes}, {"uri", notice.uri}});
  post.prepare_payload();
  return post;
}

// What went wrong, "" for nothing.
std::string attempt(const CallbackUrl& url, const Post& post) {
  net::io_context io;
  boost::beast::tcp_stream stream(io);
  boost::beast::flat_buffer buffer;
  http::response<http::string_body> reply;
  boost::system::error_code problem;
  const auto addresses = net::ip::tcp::resolver(io).resolve(url.host, url.port, problem);
  if (problem) return problem.message();
  stream.expires_after(attempt_limit);
  const auto keep = [&](const boost::system::error_code& error) { problem = error; };
  stream.async_connect(addresses, [&](const boost::system::error_code& error, const auto&) {
    if (error) return keep(error);
    http::async_write(stream, post, [&](const boost::system::error_code& unsent, size_t) {
      if (unsent) return keep(unsent);
      http::async_read(stream, buffer, reply, [&](const boost::system::error_code& unread, size_t) { keep(unread); });
    });
  });
  io.run();
  if (problem) return problem.message();
  const bool good = http::to_status_class(reply.result()) == http::status_class::successful;
  return good ? "" : str("status ", reply.result_int());
}

}  // namespace

CallbackUrl parse_callback_url(const std::string& url, const std::string& option) {
  constexpr const char* scheme = "http://";
  const std::string rest = url.starts_with(scheme) ? url.substr(std::string(scheme).size()) : "";
  const std::string place = rest.substr(0, rest.find('/'));
  const size_t colon = place.rfind(':');
  CallbackUrl parsed{place.substr(0, colon), colon == std::string::npos ? "80" : place.substr(colon + 1), "/"};
  if (place.size() < rest.size()) parsed.path = rest.substr(place.size());
  const bool digits = !parsed.port.empty() && parsed.port.find_first_not_of("0123456789") == std::string::npos;
  const bool printable = url.find_first_of(" \t\r\n") == std::string::npos;
  if (parsed.host.empty() || !digits || !printable) {
    throw UsageError(str(option, " ", url, ": expected http://HOST:PORT/PATH"));
  }
  return parsed;
}

void tell_ready(const CallbackUrl& url, const ReadyNotice& notice) {
  const Post post = post_of(url, notice);
  std::string problem;
  for (int i = 0; i < attempts; ++i) {
    if (i > 0) std::this_thread::sleep_for(first_pause * (1 << i));
    problem = attempt(url, post);
    if (problem.empty()) return;
  }
  throw Error(str("the callback http://", url.host, ":", url.port, url.path, " was not taken in ", attempts,
                  " attempts: ", problem));
}

}  // namespace braid
