// SPDX-License-Identifier: Apache-2.0
// Meets the others through BRAID_RENDEZVOUS and prints what a few exchanges gave.
#include <iostream>
#include <vector>

#include "base/error.h"
#include "comm/world.h"

int main() {
  try {
    const auto world = braid::World::connect({"cpu", false});
    double sum = 0.5 + world->rank();
    for (int round = 0; round < 5; ++round) {
      double part = 0.5 + world->rank();
      world->host().all_reduce({&part, 1, braid::Dtype::float64}, braid::ReduceOp::sum).wait();
      sum = part;
    }
    const auto half = world->host().split(world->rank() % 2, world->rank());
    // So many numbers for each rank as its place says, none for the first; the others' for this one.
    braid::PartCounts sent, received(world->size(), size_t(world->rank()));
    std::vector<int64_t> numbers, parts(world->size() * received[0]);
    for (int rank = 0; rank < world->size(); ++rank) {
      sent.push_back(size_t(rank));
      numbers.insert(numbers.end(), size_t(rank), 10 * world->rank() + rank);
    }
    world->host().all_to_all_parts({numbers.data(), numbers.size(), braid::Dtype::int64}, sent,
                                   {parts.data(), parts.size(), braid::Dtype::int64}, received);
    std::cout << world->rank() << "/" << world->size() << " sum " << sum << " root "
              << braid::broadcast_text(world->host(), "rank " + std::to_string(world->rank()), world->size() - 1) << " half "
              << half->size() << " parts";
    for (const int64_t number : parts) std::cout << " " << number;
    std::cout << std::endl;
    world->host().barrier();
    return 0;
  } catch (const braid::Error& error) {
    std::cerr << error.what() << std::endl;
    return error.exit_code();
  }
}
