// SPDX-License-Identifier: Apache-2.0
// Requests and replies as values, so that what answers them knows neither sockets nor an HTTP library.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace braid {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;  // "GET"
  std::string path;    // without the query, %XX decoded
  std::string body;
  std::string authorization;  // header fields, "" where there are none
  std::string request_id;     // X-Request-Id
  std::string client;         // its address
};

struct HttpReply {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";
  HttpHeaders headers;
};

// "/v1/models/a%20b?x=1" → "/v1/models/a b". What is no %XX stays as it is.
std::string decoded_path(const std::string& target);

// The other way: what is no letter, digit or one of -._~/ becomes %XX.
std::string encoded_path(const std::string& path);

// Whether this may stand in a header field: visible ASCII, at most 128 characters.
bool is_plain_token(const std::string& text);

}  // namespace braid
