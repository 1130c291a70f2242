// SPDX-License-Identifier: Apache-2.0
#include "serve/page.h"

namespace braid {

namespace {

const char* serving_page() {
  return
#include "serving_page.inc"
      ;
}

}  // namespace

HttpReply page_reply() {
  HttpReply reply{200, serving_page(), "text/html; charset=utf-8", {}};
  reply.headers = {{"Content-Security-Policy",
                    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
                    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
                   {"X-Content-Type-Options", "nosniff"},
                   {"Referrer-Policy", "no-referrer"}};
  return reply;
}

}  // namespace braid
