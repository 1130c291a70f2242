// SPDX-License-Identifier: Apache-2.0
#include "train/stop_request.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "nn/precompiled.h"
#include "nn/product.h"

namespace braid {
namespace {

TEST(StopRequest, RemembersASignalAndGivesTheOldHandlerBack) {
  signal(SIGUSR1, SIG_IGN);
  {
    const StopRequest stop;
    EXPECT_FALSE(stop.requested());
    raise(SIGUSR1);
    EXPECT_TRUE(stop.requested());
    EXPECT_EQ(stop.signal_number(), SIGUSR1);
  }
  raise(SIGUSR1);  // is ignored again
  signal(SIGUSR1, SIG_DFL);
}

// A signal every 100 microseconds, while products run whose kernels may hold data where the stack pointer points.
TEST(StopRequest, SignalsInTheMiddleOfAProductDoNoHarm) {
  const StopRequest stop;
  const at::Tensor x = at::randn({512, 512}), w = at::randn({512, 512});
  const at::Tensor expected = product(x, w.t());
  std::atomic<bool> done{false};
  std::thread sender([&] {
    while (!done) {
      kill(getpid(), SIGUSR1);
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  });
  bool equal = true;
  std::vector<at::Tensor> held;  // so that the heap is in use around the product
  for (int i = 0; i < 300; ++i) {
    held.push_back(at::full({1 + i % 100}, i));
    equal = equal && at::equal(product(x, w.t()), expected);
  }
  done = true;
  sender.join();
  EXPECT_TRUE(equal);
  for (int i = 0; i < 300; ++i) EXPECT_EQ(held[size_t(i)].sum().item<double>(), double(i) * (1 + i % 100));
}

}  // namespace
}  // namespace braid
