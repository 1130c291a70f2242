// SPDX-License-Identifier: Apache-2.0
// The CPU kernels of connection.h, one set per instruction set.
#pragma once

#include "kernels/connection.h"

namespace braid::kernels {

struct ConnectionTable {
  void (*forward)(const ConnectionShape&, Element, const ConnectionWrite&, const ConnectionWeights&,
                  const ConnectionOutputs&);
  void (*backward)(const ConnectionShape&, Element, const ConnectionWrite&, const ConnectionWeights&,
                   const ConnectionSaved&, const ConnectionOutputGradients&, const ConnectionInputGradients&);
};

namespace level_base {
extern const ConnectionTable connections;
}
namespace level_avx2 {
extern const ConnectionTable connections;
}
namespace level_avx512 {
extern const ConnectionTable connections;
}

}  // namespace braid::kernels
