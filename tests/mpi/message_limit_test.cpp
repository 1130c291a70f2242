// SPDX-License-Identifier: Apache-2.0
// Calls beyond MPI's int counts are cut into messages. A low limit shows that the pieces land where they belong.
#include <gtest/gtest.h>

#include <chrono>
#include <numeric>
#include <thread>

#include "base/clock.h"
#include "comm/mpi_communicator.h"
#include "mpi_world.h"

namespace braid {
namespace {

using test::world;

class SmallMessages : public testing::Test {
 protected:
  void SetUp() override {
    int started = 0;
    MPI_Initialized(&started);
    if (!started) GTEST_SKIP() << "this process was started without MPI";
    MPI_Comm_dup(MPI_COMM_WORLD, &duplicate_);
    comm_ = make_mpi_communicator(duplicate_, std::make_shared<CommThread>(), 1000);
  }
  std::vector<int64_t> numbers(size_t count) const {
    std::vector<int64_t> data(count);
    std::iota(data.begin(), data.end(), int64_t{world().rank()} * 1000000);
    return data;
  }
  static Buffer buffer(std::vector<int64_t>& data) { return {data.data(), data.size(), Dtype::int64}; }
  MPI_Comm duplicate_ = MPI_COMM_NULL;
  std::unique_ptr<Communicator> comm_;
  const int size_ = world().size();
};

TEST_F(SmallMessages, AllReduceAndAllGatherOfManyPiecesAreWhole) {
  auto data = numbers(2501);
  comm_->all_reduce(buffer(data), ReduceOp::sum).wait();
  for (size_t i = 0; i < data.size(); ++i) {
    ASSERT_EQ(data[i], int64_t(i) * size_ + int64_t{1000000} * size_ * (size_ - 1) / 2);
  }
  auto mine = numbers(2501);
  std::vector<int64_t> all(mine.size() * size_);
  comm_->all_gather(buffer(mine), buffer(all)).wait();
  for (int r = 0; r < size_; ++r) {
    for (size_t i = 0; i < mine.size(); ++i) ASSERT_EQ(all[r * mine.size() + i], int64_t{r} * 1000000 + int64_t(i));
  }
}

TEST_F(SmallMessages, AllToAllAndReduceScatterOfManyPiecesAreWhole) {
  const size_t slice = 1501;
  auto mine = numbers(slice * size_);
  std::vector<int64_t> all(mine.size()), part(slice);
  comm_->all_to_all(buffer(mine), buffer(all)).wait();
  for (int r = 0; r < size_; ++r) {
    for (size_t i = 0; i < slice; ++i) ASSERT_EQ(all[r * slice + i], int64_t{r} * 1000000 + int64_t(world().rank() * slice + i));
  }
  comm_->reduce_scatter(buffer(mine), buffer(part), ReduceOp::sum).wait();
  for (size_t i = 0; i < slice; ++i) {
    ASSERT_EQ(part[i], int64_t(world().rank() * slice + i) * size_ + int64_t{1000000} * size_ * (size_ - 1) / 2);
  }
}

TEST_F(SmallMessages, AllToAllPartsOfManyPiecesIsWhole) {
  const auto part_of = [](int from, int to) { return size_t(1000 * from + 501 * to); };
  PartCounts sent, received;
  for (int r = 0; r < size_; ++r) {
    sent.push_back(part_of(world().rank(), r));
    received.push_back(part_of(r, world().rank()));
  }
  auto mine = numbers(std::accumulate(sent.begin(), sent.end(), size_t{0}));
  std::vector<int64_t> all(std::accumulate(received.begin(), received.end(), size_t{0}));
  comm_->all_to_all_parts(buffer(mine), sent, buffer(all), received).wait();
  size_t next = 0;
  for (int r = 0; r < size_; ++r) {
    size_t before = 0;  // what rank r has for ranks below this one
    for (int s = 0; s < world().rank(); ++s) before += part_of(r, s);
    for (size_t i = 0; i < received[r]; ++i) ASSERT_EQ(all[next++], int64_t{r} * 1000000 + int64_t(before + i));
  }
}

// Each goes in parts while others wait; the ranks begin at different times, and each part must meet its like.
TEST_F(SmallMessages, AllReducesUnderWayTogetherDoNotMix) {
  std::vector<std::vector<int64_t>> data;
  for (const size_t count : {7001, 3, 2500, 1, 9999, 1000}) data.push_back(numbers(count));
  std::vector<Work> work;
  std::this_thread::sleep_for(std::chrono::milliseconds(20 * world().rank()));
  for (auto& numbers : data) work.push_back(comm_->all_reduce(buffer(numbers), ReduceOp::sum));
  comm_->barrier();
  for (size_t k = work.size(); k-- > 0;) work[k].wait();
  for (const auto& sums : data) {
    for (size_t i = 0; i < sums.size(); ++i) {
      ASSERT_EQ(sums[i], int64_t(i) * size_ + int64_t{1000000} * size_ * (size_ - 1) / 2);
    }
  }
}

// Rank 1 begins its all-reduce only when the message is there, rank 0 sends it after beginning its own.
TEST_F(SmallMessages, AMessageIsNotHeldBackByAnUnfinishedAllReduce) {
  if (size_ < 2) GTEST_SKIP() << "needs two ranks";
  auto sums = numbers(9001), message = numbers(5);
  Work reduction;
  if (world().rank() == 0) {
    reduction = comm_->all_reduce(buffer(sums), ReduceOp::sum);
    comm_->send(buffer(message), 1).wait();
  } else {
    if (world().rank() == 1) comm_->receive(buffer(message), 0).wait();
    reduction = comm_->all_reduce(buffer(sums), ReduceOp::sum);
  }
  reduction.wait();
  if (world().rank() == 1) EXPECT_EQ(message, (std::vector<int64_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(sums[9000], int64_t{9000} * size_ + int64_t{1000000} * size_ * (size_ - 1) / 2);
}

TEST_F(SmallMessages, ASplitComesAfterWhatWasBegunBefore) {
  auto before = numbers(9001), after = numbers(2001);
  Work reduction = comm_->all_reduce(buffer(before), ReduceOp::sum);
  const auto part = comm_->split(world().rank() % 2, world().rank());
  part->all_reduce(buffer(after), ReduceOp::max).wait();
  reduction.wait();
  EXPECT_EQ(before[1], size_ + int64_t{1000000} * size_ * (size_ - 1) / 2);
  const int last = world().rank() % 2 == (size_ - 1) % 2 ? size_ - 1 : size_ - 2;  // of this half
  EXPECT_EQ(after[7], int64_t{1000000} * last + 7);
}

TEST_F(SmallMessages, MoreThanTwoGibibytesAreSummed) {
  const size_t bytes = (size_t{1} << 31) + 12345;
  if (available_host_memory_bytes() < int64_t(bytes) * size_ * 2 + (int64_t{2} << 30)) GTEST_SKIP() << "not enough memory";
  if (size_ != 2) GTEST_SKIP() << "done with two ranks";
  std::vector<uint8_t> data(bytes, uint8_t(world().rank() + 1));
  const auto large = make_mpi_communicator(duplicate_, std::make_shared<CommThread>());
  large->all_reduce({data.data(), data.size(), Dtype::uint8}, ReduceOp::sum).wait();
  for (const size_t i : {size_t{0}, (size_t{1} << 31) - 1, size_t{1} << 31, bytes - 1}) EXPECT_EQ(data[i], 3) << i;
}

}  // namespace
}  // namespace braid
