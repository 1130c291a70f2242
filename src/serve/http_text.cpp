// SPDX-License-Identifier: Apache-2.0
#include "serve/http_text.h"

#include <boost/beast/http/status.hpp>
#include <ctime>

#include "base/error.h"

namespace braid {

namespace {

namespace http = boost::beast::http;

std::string http_date() {
  const std::time_t now = std::time(nullptr);
  std::tm parts = {};
  gmtime_r(&now, &parts);
  char text[64];
  return {text, std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts)};
}

}  // namespace

std::string reply_head(const HttpReply& head, std::optional<size_t> length, bool chunked, bool keep_alive) {
  std::string text = str("HTTP/1.1 ", head.status, ' ', http::obsolete_reason(static_cast<http::status>(head.status)),
                         "\r\nServer: braid\r\nDate: ", http_date(), "\r\nContent-Type: ", head.content_type, "\r\n");
  for (const auto& [name, value] : head.headers) text += name + ": " + value + "\r\n";
  if (length) {
    text += str("Content-Length: ", *length, "\r\n");
  } else if (chunked) {
    text += "Transfer-Encoding: chunked\r\n";
  }
  return text + (keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n");
}

std::string chunk_of(const std::string& piece) {
  char size[20];
  std::snprintf(size, sizeof size, "%zx\r\n", piece.size());
  return size + piece + "\r\n";
}

}  // namespace braid
