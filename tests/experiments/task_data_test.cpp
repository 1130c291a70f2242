// SPDX-License-Identifier: Apache-2.0
#include "experiments/task_data.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace braid {
namespace {

TEST(FollowEpochs, LeavesStepsAloneWithoutEpochs) {
  RunConfig config;
  config.train.steps = 7;
  follow_epochs(config);
  EXPECT_EQ(config.train.steps, 7);
}

TEST(FollowEpochs, RefusesDataWithoutAnEnd) {
  RunConfig config;
  config.train.epochs = 2;
  EXPECT_THROW(follow_epochs(config), UsageError);
}

}  // namespace
}  // namespace braid
