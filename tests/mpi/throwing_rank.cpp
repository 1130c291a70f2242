// SPDX-License-Identifier: Apache-2.0
// Rank 1 fails while the others wait for it in a collective.
#include <iostream>

#include "base/error.h"
#include "comm/world.h"

int main() {
  const auto world = braid::World::connect({"cpu", false});
  try {
    if (world->rank() == 1) throw braid::Error("the third shelf is empty");
    int64_t one = 1;
    world->host().all_reduce({&one, 1, braid::Dtype::int64}, braid::ReduceOp::sum).wait();
  } catch (const std::exception& error) {
    world->abort(error.what(), braid::exit_failed);
  }
}
