// SPDX-License-Identifier: Apache-2.0
#include "parallel/pipeline_schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "base/error.h"

namespace braid {
namespace {

std::vector<PipelineShape> shapes() {
  std::vector<PipelineShape> all;
  for (const int64_t stages : {1, 2, 3, 4, 7}) {
    for (const char* schedule : {"gpipe", "1f1b"}) all.push_back({stages, schedule, 1});
    for (const int64_t chunks : {2, 3}) all.push_back({stages, "interleaved", chunks});
  }
  return all;
}

// Stages that run at once, a forward pass through a run of layers taking one unit of time and a backward pass two, messages
// none: when all have ended, -1 where they wait for each other for ever.
int64_t time_of_step(const PipelineShape& shape, int64_t passes) {
  std::map<std::tuple<bool, int64_t, int64_t>, int64_t> ended;  // of forward or backward, run and pass
  std::vector<std::vector<PipelineAction>> left;
  std::vector<int64_t> time(size_t(shape.stages), 0);
  for (int64_t stage = 0; stage < shape.stages; ++stage) {
    left.push_back(pipeline_actions(shape, stage, passes));
    std::reverse(left.back().begin(), left.back().end());
  }
  const auto step = [&](int64_t stage) {
    const PipelineAction next = left[size_t(stage)].back();
    const int64_t run = next.chunk * shape.stages + stage;
    const bool begins = next.forward && run == 0, turns = !next.forward && run + 1 == shape.runs();
    const auto before = ended.find(turns ? std::tuple(true, run, next.pass)
                                         : std::tuple(next.forward, next.forward ? run - 1 : run + 1, next.pass));
    if (!begins && before == ended.end()) return false;
    const int64_t start = std::max(time[size_t(stage)], begins ? 0 : before->second);
    time[size_t(stage)] = ended[{next.forward, run, next.pass}] = start + (next.forward ? 1 : 2);
    left[size_t(stage)].pop_back();
    return true;
  };
  for (bool moved = true; moved;) {
    moved = false;
    for (int64_t stage = 0; stage < shape.stages; ++stage) {
      while (!left[size_t(stage)].empty() && step(stage)) moved = true;
    }
  }
  const bool done = std::all_of(left.begin(), left.end(), [](const auto& actions) { return actions.empty(); });
  return done ? *std::max_element(time.begin(), time.end()) : -1;
}

TEST(PipelineSchedule, CutsTheDepthIntoRunsThatFollowEachOther) {
  for (const PipelineShape& shape : shapes()) {
    for (const int64_t layers : {shape.runs(), shape.runs() + 2, 2 * shape.runs() + 1}) {
      int64_t next = 0;
      for (int64_t chunk = 0; chunk < shape.chunks; ++chunk) {
        for (int64_t stage = 0; stage < shape.stages; ++stage) {
          const LayerRange range = layers_of_stage(layers, shape, stage, chunk);
          EXPECT_EQ(range.first, next);
          EXPECT_GE(range.count, 1);
          next = range.end();
        }
      }
      EXPECT_EQ(next, layers);
    }
  }
}

TEST(PipelineSchedule, MakesEveryPassOnceAndNeverWaitsInACircle) {
  for (const PipelineShape& shape : shapes()) {
    for (const int64_t passes : {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 20, 23, 27, 40, 41}) {
      const std::string where = str(shape.schedule, ", ", shape.stages, " stages, ", shape.chunks, " chunks, ", passes, " passes");
      EXPECT_GT(time_of_step(shape, passes), 0) << where;
      for (int64_t stage = 0; stage < shape.stages; ++stage) {
        std::set<std::tuple<bool, int64_t, int64_t>> made;
        int64_t kept = 0, most = 0;
        for (const PipelineAction& a : pipeline_actions(shape, stage, passes)) {
          EXPECT_TRUE(made.insert({a.forward, a.chunk, a.pass}).second) << where;
          if (!a.forward) EXPECT_TRUE(made.count({true, a.chunk, a.pass})) << where;
          most = std::max(most, kept += a.forward ? 1 : -1);
        }
        EXPECT_EQ(std::ssize(made), 2 * shape.chunks * passes) << where;
        EXPECT_EQ(most, passes_kept(shape, stage, passes)) << where;
      }
    }
  }
}

// Arrived at in the papers by counting what each stage waits for at the start and the end.
TEST(PipelineSchedule, WaitsAsLongAsThePapersSay) {
  for (const PipelineShape& shape : shapes()) {
    const int64_t passes = 3 * shape.stages, work = 3 * shape.chunks * passes;
    EXPECT_NEAR(double(time_of_step(shape, passes)) / double(work), 1 + bubble_share(shape, passes), 1e-9)
        << shape.schedule << " " << shape.stages << " " << shape.chunks;
  }
}

TEST(PipelineSchedule, OneForwardOneBackwardKeepsNoMoreThanThereAreStages) {
  EXPECT_EQ(passes_kept({4, "1f1b", 1}, 0, 32), 4);
  EXPECT_EQ(passes_kept({4, "1f1b", 1}, 3, 32), 1);
  EXPECT_EQ(passes_kept({4, "gpipe", 1}, 3, 32), 32);
}

TEST(PipelineSchedule, AModelOfTooFewLayersIsRefused) {
  ModelConfig model;
  model.layers = 3;
  EXPECT_THROW(stage_share(model, {4, "1f1b", 1}, 0), UsageError);
  EXPECT_THROW(stage_share(model, {2, "interleaved", 2}, 0), UsageError);
  EXPECT_EQ(stage_share(model, {2, "1f1b", 1}, 0).held_layers(), 2);
  EXPECT_TRUE(stage_share(model, {2, "1f1b", 1}, 1).holds_head());
  EXPECT_FALSE(stage_share(model, {2, "1f1b", 1}, 1).holds_embedding());
}

}  // namespace
}  // namespace braid
