// SPDX-License-Identifier: Apache-2.0
// Starts MPI once for all tests, or meets through BRAID_RENDEZVOUS; BRAID_TEST_DEVICE=cuda connects NCCL too. Rank 0 prints; another rank prints only its failures. After each test the ranks agree on
// the result, so that a failed assertion on one of them fails the test on all and no rank runs ahead into a hang.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "base/error.h"
#include "mpi_world.h"

namespace braid::test {
namespace {

std::unique_ptr<World>* world_slot = nullptr;  // set once in main, before any test

class AgreeOnResult : public testing::EmptyTestEventListener {
 public:
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    const std::string where = str(result.file_name(), ":", result.line_number(), ": ", result.summary());
    // A fatal assertion leaves its test early, and the other ranks would wait in a collective this one never reaches.
    if (result.fatally_failed()) world().abort(where, exit_failed);
    if (world().rank() != 0) std::cerr << "rank " << world().rank() << ": " << where << std::endl;
  }
  void OnTestEnd(const testing::TestInfo& info) override {
    int64_t failed = info.result()->Failed();
    world().host().all_reduce({&failed, 1, Dtype::int64}, ReduceOp::sum).wait();
    failures_ += failed > 0;
    if (failed > 0 && world().rank() == 0 && !info.result()->Failed()) {
      std::cerr << "[  FAILED  ] " << info.test_suite_name() << "." << info.name() << " on " << failed << " other rank(s)\n";
    }
  }
  int failures() const { return failures_; }

 private:
  int failures_ = 0;
};

int run() {
  auto* agreement = new AgreeOnResult;  // GoogleTest owns it
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  if (world().rank() != 0) delete listeners.Release(listeners.default_result_printer());
  listeners.Append(agreement);
  const int here = RUN_ALL_TESTS();
  return here != 0 || agreement->failures() > 0;
}

}  // namespace

World& world() { return **world_slot; }

}  // namespace braid::test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  try {
    const char* device = std::getenv("BRAID_TEST_DEVICE");
    auto world = braid::World::connect({device ? device : "cpu", true});
    braid::test::world_slot = &world;
    return braid::test::run();
  } catch (const std::exception& error) {
    std::cerr << error.what() << std::endl;
    return 1;
  }
}
