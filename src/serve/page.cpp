// SPDX-License-Identifier: Apache-2.0
#include "serve/page.h"

namespace braid {

const char* serving_page() {
  return
#include "serving_page.inc"
      ;
}

}  // namespace braid
