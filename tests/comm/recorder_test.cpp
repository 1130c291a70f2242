// SPDX-License-Identifier: Apache-2.0
#include "comm/recorder.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "comm/blame.h"
#include "comm/recording_communicator.h"

namespace braid {
namespace {

// A call that ends when the test says so.
struct ControlledState final : Work::State {
  void wait() override { synchronize(); }
  void synchronize() override {
    if (broken) throw Error("broken");
  }
  bool done() override { return ended; }
  bool ended = false, broken = false;
};

// Two ranks, of which the test is one: every call stays under way until the test ends it.
class ControlledCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 2; }
  const char* backend() const override { return "controlled"; }
  Work all_reduce(Buffer, ReduceOp) override { return start(); }
  Work all_gather(Buffer, Buffer) override { return start(); }
  Work reduce_scatter(Buffer, Buffer, ReduceOp) override { return start(); }
  Work broadcast(Buffer, int) override { return start(); }
  Work all_to_all(Buffer, Buffer) override { return start(); }
  Work all_to_all_parts(Buffer, const PartCounts&, Buffer, const PartCounts&) override { return start(); }
  Work send(Buffer, int) override { return start(); }
  Work receive(Buffer, int) override { return start(); }
  void barrier() override {
    if (broken_barrier) throw Error("broken");
  }
  std::unique_ptr<Communicator> split(int, int) override { return std::make_unique<ControlledCommunicator>(); }

  std::vector<std::shared_ptr<ControlledState>> calls;
  bool broken_barrier = false;

 private:
  Work start() { return Work(calls.emplace_back(std::make_shared<ControlledState>())); }
};

class Recorder : public testing::Test {
 protected:
  Recorder() {
    auto owned = std::make_unique<ControlledCommunicator>();
    inner = owned.get();
    comm = make_recording_communicator(std::move(owned), recorder, "host");
  }
  CollectiveRecord entry(size_t i) const { return recorder->snapshot().entries.at(i); }

  std::shared_ptr<CollectiveRecorder> recorder = std::make_shared<CollectiveRecorder>(8);
  ControlledCommunicator* inner = nullptr;
  std::unique_ptr<Communicator> comm;
  std::vector<float> values = std::vector<float>(256);
  Buffer buffer{values.data(), values.size(), Dtype::float32};
};

TEST_F(Recorder, KeepsWhatWasCalledAndWhen) {
  const double before = unix_seconds();
  comm->all_reduce(buffer, ReduceOp::sum);
  comm->broadcast(buffer, 1);
  EXPECT_EQ(describe(entry(0)), "all_reduce of 1.0 KiB float32 on host, sequence 1");
  EXPECT_EQ(describe(entry(1)), "broadcast of 1.0 KiB float32 from rank 1 on host, sequence 2");
  EXPECT_GE(entry(0).start, before - 0.01);
  EXPECT_LE(entry(1).start, unix_seconds() + 0.01);
  EXPECT_EQ(entry(0).state, CallState::waiting);
  EXPECT_EQ(entry(0).end, 0);
}

TEST_F(Recorder, SeesTheEndOfACallThatNobodyWaitsFor) {
  comm->all_reduce(buffer, ReduceOp::sum);
  comm->all_reduce(buffer, ReduceOp::sum);
  inner->calls[1]->ended = true;
  recorder->poll();
  EXPECT_EQ(entry(0).state, CallState::waiting);
  EXPECT_EQ(entry(1).state, CallState::done);
  EXPECT_GE(entry(1).end, entry(1).start);
  EXPECT_EQ(inner->calls[1].use_count(), 1);  // its handle was given back
}

TEST_F(Recorder, SeesFailuresOfCallsUnderWayAndOfBlockingOnes) {
  comm->all_reduce(buffer, ReduceOp::sum);
  inner->calls[0]->broken = inner->calls[0]->ended = true;
  EXPECT_FALSE(recorder->any_failed());
  recorder->poll();
  EXPECT_EQ(entry(0).state, CallState::failed);
  EXPECT_TRUE(recorder->any_failed());
  inner->broken_barrier = true;
  EXPECT_THROW(comm->barrier(), Error);
  EXPECT_EQ(entry(1).state, CallState::failed);
}

TEST_F(Recorder, CountsBarriersAndSplitsButNotMessages) {
  comm->barrier();
  comm->send(buffer, 1);
  const auto part = comm->split(3, 0);
  part->barrier();
  EXPECT_EQ(entry(0).sequence, 1);
  EXPECT_TRUE(entry(1).message);
  EXPECT_EQ(entry(2).operation, "split");
  EXPECT_EQ(entry(2).sequence, 2);
  EXPECT_EQ(entry(2).state, CallState::done);
  EXPECT_EQ(describe(entry(3)), "barrier on host/split-1-3, sequence 1");
}

TEST_F(Recorder, AddsUpWhatCallsAreGiven) {
  comm->all_reduce(buffer, ReduceOp::sum);
  comm->barrier();
  std::vector<int64_t> counts(3);
  comm->split(0, 0)->all_gather({counts.data(), counts.size(), Dtype::int64}, buffer);
  EXPECT_EQ(recorder->bytes(), 4 * 256 + 8 * 3);
}

TEST_F(Recorder, FindsTheOldestCallThatWaits) {
  EXPECT_FALSE(recorder->oldest_waiting());
  comm->all_reduce(buffer, ReduceOp::sum);
  comm->all_gather(buffer, buffer);
  EXPECT_EQ(recorder->oldest_waiting()->record.operation, "all_reduce");
  inner->calls[0]->ended = true;
  recorder->poll();
  EXPECT_EQ(recorder->oldest_waiting()->record.operation, "all_gather");
}

TEST_F(Recorder, PatientCommunicatorsAreRecordedButNeverTimeOut) {
  const auto patient = make_patient_split(*comm, "checkpoint");
  const auto below = patient->split(0, 0);
  patient->all_reduce(buffer, ReduceOp::sum);
  below->all_reduce(buffer, ReduceOp::sum);
  EXPECT_EQ(recorder->snapshot().entries.back().communicator, "host/checkpoint/split-1-0");
  EXPECT_EQ(recorder->snapshot().entries.back().state, CallState::waiting);
  EXPECT_FALSE(recorder->oldest_waiting());
}

TEST_F(Recorder, ForgetsTheOldestEntriesAndKeepsCounting) {
  for (int i = 0; i < 20; ++i) comm->all_reduce(buffer, ReduceOp::sum);
  const auto entries = recorder->snapshot().entries;
  ASSERT_EQ(entries.size(), 8u);
  EXPECT_EQ(entries.front().sequence, 13);
  EXPECT_EQ(entries.back().sequence, 20);
  EXPECT_EQ(recorder->oldest_waiting()->record.sequence, 13);
  for (auto& call : inner->calls) call->ended = true;
  recorder->poll();
  EXPECT_FALSE(recorder->oldest_waiting());
}

TEST_F(Recorder, AClosedCommunicatorIsWatchedNoLongerAndItsNameIsNotUsedAgain) {
  auto part = make_patient_split(*comm, "checkpoint");
  comm->all_reduce(buffer, ReduceOp::sum);
  part.reset();
  part = make_patient_split(*comm, "checkpoint");
  const auto communicators = recorder->snapshot().communicators;
  ASSERT_EQ(communicators.size(), 2u);
  EXPECT_EQ(communicators[1].name, "host/checkpoint#2");
  comm.reset();
  EXPECT_FALSE(recorder->oldest_waiting());
}

TEST_F(Recorder, FinishedCallsDoNotPileUpBetweenPolls) {
  for (int i = 0; i < 100; ++i) {
    comm->all_reduce(buffer, ReduceOp::sum);
    inner->calls.back()->ended = true;
  }
  int held = 0;
  for (const auto& call : inner->calls) held += call.use_count() > 1;
  EXPECT_LE(held, 2);
}

TEST_F(Recorder, TakesCallsWhileOthersAsk) {
  std::thread asking([&] {
    for (int i = 0; i < 300; ++i) {
      recorder->poll();
      recorder->snapshot();
      recorder->oldest_waiting();
    }
  });
  for (int i = 0; i < 3000; ++i) comm->barrier();
  asking.join();
  EXPECT_EQ(recorder->last()->sequence, 3000);
}

TEST_F(Recorder, ARingTravelsAsText) {
  comm->all_reduce(buffer, ReduceOp::sum);
  comm->send(buffer, 1);
  comm->barrier();
  const RingSnapshot sent = recorder->snapshot(), got = ring_from_text(ring_text(sent));
  ASSERT_EQ(got.entries.size(), sent.entries.size());
  for (size_t i = 0; i < sent.entries.size(); ++i) {
    EXPECT_EQ(describe(got.entries[i]), describe(sent.entries[i]));
    EXPECT_EQ(got.entries[i].state, sent.entries[i].state);
    EXPECT_EQ(got.entries[i].message, sent.entries[i].message);
  }
  EXPECT_EQ(got.communicators.at(0).sequence, 2);
  EXPECT_THROW(ring_from_text("{\"communicators\": 3}"), Error);
}

}  // namespace
}  // namespace braid
