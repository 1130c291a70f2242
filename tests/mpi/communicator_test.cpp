// SPDX-License-Identifier: Apache-2.0
// Every collective, every element type, several sizes, against what each rank can compute by itself.
#include "comm/communicator.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <numeric>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "comm/agreement.h"
#include "device_twin.h"
#include "mpi_world.h"

namespace braid {
namespace {

using test::DeviceTwin;
using test::world;

// Element i of rank r: small whole numbers, exact in every type, bf16 sums of four ranks included.
double value_at(int rank, size_t i) { return double((i * 7 + size_t(rank) * 3) % 11); }

uint16_t to_bf16(double x) {
  const float f = float(x);
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  return uint16_t(bits >> 16);
}
double from_bf16(uint16_t x) {
  const uint32_t bits = uint32_t{x} << 16;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}

// Host memory, with a twin on the device where the communicator is NCCL's. buffer() hands over what was set; get() shows
// what is there once the work is done.
class Memory {
 public:
  Memory(Dtype dtype, size_t count)
      : dtype_(dtype), count_(count), host_(count * size_of(dtype) + 1), device_(world().data().backend()) {}
  Buffer buffer() { return part(0, count_); }
  Buffer part(size_t first, size_t count) { return {place() + first * size_of(dtype_), count, dtype_}; }
  void set(size_t i, double x) {
    switch (dtype_) {
      case Dtype::float32: return put(i, float(x));
      case Dtype::float64: return put(i, x);
      case Dtype::int64: return put(i, int64_t(x));
      case Dtype::uint8: return put(i, uint8_t(x));
      case Dtype::bfloat16: return put(i, to_bf16(x));
    }
  }
  double get(size_t i) {
    if (handed_over_) device_.read(host_);
    handed_over_ = false;
    switch (dtype_) {
      case Dtype::float32: return take<float>(i);
      case Dtype::float64: return take<double>(i);
      case Dtype::int64: return double(take<int64_t>(i));
      case Dtype::uint8: return take<uint8_t>(i);
      case Dtype::bfloat16: return from_bf16(take<uint16_t>(i));
    }
    return 0;
  }
  void fill(int rank, size_t shift = 0) { fill_part(rank, 0, count_, shift); }
  void fill_part(int rank, size_t first, size_t count, size_t shift = 0) {
    for (size_t i = 0; i < count; ++i) set(first + i, value_at(rank, i + shift));
  }

 private:
  char* place() {
    if (!handed_over_) device_.write(host_);
    handed_over_ = true;
    return device_.memory(host_);
  }
  template <class T>
  void put(size_t i, T x) { std::memcpy(host_.data() + i * sizeof(T), &x, sizeof(T)); }
  template <class T>
  T take(size_t i) const {
    T x;
    std::memcpy(&x, host_.data() + i * sizeof(T), sizeof(T));
    return x;
  }
  Dtype dtype_;
  size_t count_;
  std::vector<char> host_;
  DeviceTwin device_;
  bool handed_over_ = false;
};

class EveryType : public testing::TestWithParam<std::tuple<Dtype, size_t>> {
 protected:
  Dtype dtype() const { return std::get<0>(GetParam()); }
  size_t count() const { return std::get<1>(GetParam()); }
  Communicator& comm_ = world().data();
  const int rank_ = world().rank(), size_ = world().size();
};

TEST_P(EveryType, AllReduceGivesSumMaxAndMinOnEveryRank) {
  for (const ReduceOp op : {ReduceOp::sum, ReduceOp::max, ReduceOp::min}) {
    Memory data(dtype(), count());
    data.fill(rank_);
    comm_.all_reduce(data.buffer(), op).wait();
    for (size_t i = 0; i < count(); i += 1 + count() / 997) {
      double expected = value_at(0, i);
      for (int r = 1; r < size_; ++r) {
        const double x = value_at(r, i);
        expected = op == ReduceOp::sum ? expected + x : op == ReduceOp::max ? std::max(expected, x) : std::min(expected, x);
      }
      ASSERT_EQ(data.get(i), expected) << i;
    }
  }
}

TEST_P(EveryType, AllGatherPlacesRanksInOrderAlsoInPlace) {
  for (const bool in_place : {false, true}) {
    Memory in(dtype(), count()), out(dtype(), count() * size_);
    in.fill(rank_);
    if (in_place) out.fill_part(rank_, count() * rank_, count());
    comm_.all_gather(in_place ? out.part(count() * rank_, count()) : in.buffer(), out.buffer()).wait();
    for (int r = 0; r < size_; ++r) {
      for (size_t i = 0; i < count(); i += 1 + count() / 997) ASSERT_EQ(out.get(count() * r + i), value_at(r, i));
    }
  }
}

TEST_P(EveryType, ReduceScatterLeavesEachRankItsSlice) {
  Memory in(dtype(), count() * size_), out(dtype(), count());
  in.fill(rank_);
  comm_.reduce_scatter(in.buffer(), out.buffer(), ReduceOp::sum).wait();
  for (size_t i = 0; i < count(); i += 1 + count() / 997) {
    double expected = 0;
    for (int r = 0; r < size_; ++r) expected += value_at(r, count() * rank_ + i);
    ASSERT_EQ(out.get(i), expected);
  }
}

TEST_P(EveryType, BroadcastComesFromAnyRoot) {
  for (int root = 0; root < size_; ++root) {
    Memory data(dtype(), count());
    data.fill(rank_);
    comm_.broadcast(data.buffer(), root).wait();
    for (size_t i = 0; i < count(); i += 1 + count() / 997) ASSERT_EQ(data.get(i), value_at(root, i));
  }
}

TEST_P(EveryType, AllToAllExchangesSlices) {
  Memory in(dtype(), count() * size_), out(dtype(), count() * size_);
  in.fill(rank_);
  comm_.all_to_all(in.buffer(), out.buffer()).wait();
  for (int r = 0; r < size_; ++r) {
    for (size_t i = 0; i < count(); i += 1 + count() / 997) ASSERT_EQ(out.get(count() * r + i), value_at(r, count() * rank_ + i));
  }
}

// Rank r has part_of(r, s) elements for rank s, none for some; two calls are under way together.
TEST_P(EveryType, AllToAllPartsExchangesPartsOfDifferentSizes) {
  const auto part_of = [&](int from, int to) { return size_t(from + 2 * to) % 3 * count(); };
  PartCounts sent, received;
  for (int r = 0; r < size_; ++r) {
    sent.push_back(part_of(rank_, r));
    received.push_back(part_of(r, rank_));
  }
  const auto total = [](const PartCounts& counts) { return std::accumulate(counts.begin(), counts.end(), size_t{0}); };
  Memory in(dtype(), total(sent)), out(dtype(), total(received)), again(dtype(), total(received));
  for (int r = 0, first = 0; r < size_; first += int(sent[r++])) {
    for (size_t i = 0; i < sent[r]; ++i) in.set(first + i, value_at(rank_, i + size_t(r) * 5));
  }
  const Work one = comm_.all_to_all_parts(in.buffer(), sent, out.buffer(), received);
  const Work two = comm_.all_to_all_parts(in.buffer(), sent, again.buffer(), received);
  two.wait();
  one.wait();
  for (size_t r = 0, first = 0; r < received.size(); first += received[r++]) {
    for (size_t i = 0; i < received[r]; i += 1 + count() / 997) {
      ASSERT_EQ(out.get(first + i), value_at(int(r), i + size_t(rank_) * 5)) << r << " " << i;
      ASSERT_EQ(again.get(first + i), out.get(first + i));
    }
  }
}

TEST(AllToAllParts, RefusesCountsThatDoNotFillTheBuffers) {
  std::vector<float> data(size_t(world().size()) + 1);
  const PartCounts ones(size_t(world().size()), 1);
  const Buffer buffer{data.data(), data.size(), Dtype::float32};
  EXPECT_THROW(world().host().all_to_all_parts(buffer, ones, buffer, ones), Error);
}

TEST_P(EveryType, SendAndReceiveGoRoundTheRing) {
  if (size_ == 1) GTEST_SKIP() << "one rank has nobody to send to";
  Memory out(dtype(), count()), in(dtype(), count());
  out.fill(rank_);
  const bool sends_first = std::string(comm_.backend()) == "nccl" && rank_ % 2 == 0;
  Work sent = sends_first ? comm_.send(out.buffer(), (rank_ + 1) % size_) : Work();
  const Work received = comm_.receive(in.buffer(), (rank_ + size_ - 1) % size_);
  if (!sends_first) sent = comm_.send(out.buffer(), (rank_ + 1) % size_);
  sent.wait();
  received.wait();
  for (size_t i = 0; i < count(); i += 1 + count() / 997) ASSERT_EQ(in.get(i), value_at((rank_ + size_ - 1) % size_, i));
}

INSTANTIATE_TEST_SUITE_P(Types, EveryType,
                         testing::Combine(testing::Values(Dtype::float32, Dtype::float64, Dtype::bfloat16, Dtype::int64,
                                                          Dtype::uint8),
                                          testing::Values(size_t{0}, size_t{1}, size_t{3}, size_t{1000}, size_t{1} << 20)),
                         [](const auto& info) {
                           return std::string(name_of(std::get<0>(info.param))) + "_" + std::to_string(std::get<1>(info.param));
                         });

// So large a slice comes in several parts, also into the memory that it is of.
TEST(LargeReduceScatter, PartsLandWhereTheyBelong) {
  const int rank = world().rank(), size = world().size();
  const size_t count = (size_t{9} << 20) / size + 5;
  for (const bool in_place : {false, true}) {
    Memory in(Dtype::float32, count * size), out(Dtype::float32, count);
    in.fill(rank);
    world().data().reduce_scatter(in.buffer(), in_place ? in.part(count * rank, count) : out.buffer(), ReduceOp::sum).wait();
    for (size_t i = 0; i < count; i += 1009) {
      double expected = 0;
      for (int r = 0; r < size; ++r) expected += value_at(r, count * rank + i);
      ASSERT_EQ(in_place ? in.get(count * rank + i) : out.get(i), expected) << i;
    }
  }
}

TEST(Bf16Sum, RoundsToNearestEven) {
  // 1 + 2^-8 lies half way between two bf16 numbers; the even one is 1.
  if (world().size() != 2) GTEST_SKIP() << "needs two ranks";
  Memory value(Dtype::bfloat16, 1);
  value.set(0, world().rank() == 0 ? 1.0 : 0.00390625);
  world().data().all_reduce(value.buffer(), ReduceOp::sum).wait();
  EXPECT_EQ(value.get(0), 1.0);
}

// Of fractions another order of the terms gives other bits. The count is no multiple of the ranks and goes in several parts.
TEST(LargeSum, HasOneRanksBitsOnEveryRankAndInEveryCall) {
  Communicator& comm = world().host();
  const auto sums = [&] {
    std::vector<float> data((size_t{5} << 19) + 1);
    for (size_t i = 0; i < data.size(); ++i) data[i] = 1.0f / float(1 + (i * 7 + size_t(comm.rank()) * 13) % 1009);
    comm.all_reduce({data.data(), data.size(), Dtype::float32}, ReduceOp::sum).wait();
    return data;
  };
  const std::vector<float> first = sums();
  EXPECT_EQ(first, sums());
  std::vector<float> of_last = first;
  comm.broadcast({of_last.data(), of_last.size(), Dtype::float32}, comm.size() - 1).wait();
  EXPECT_EQ(first, of_last);
  for (size_t i = 0; i < first.size(); i += 1 + i % 5003) {
    double expected = 0;
    for (int r = 0; r < comm.size(); ++r) expected += 1.0f / float(1 + (i * 7 + size_t(r) * 13) % 1009);
    ASSERT_NEAR(first[i], expected, 1e-6) << i;
  }
}

TEST(Split, MakesCommunicatorsByColourOrderedByKey) {
  Communicator& all = world().data();
  const auto part = all.split(all.rank() % 2, -all.rank());
  const int members = (all.size() + 1 - all.rank() % 2) / 2;
  EXPECT_EQ(part->size(), members);
  EXPECT_EQ(part->rank(), members - 1 - all.rank() / 2);
  Memory sum(Dtype::int64, 1);
  sum.set(0, all.rank());
  part->all_reduce(sum.buffer(), ReduceOp::sum).wait();
  int64_t expected = 0;
  for (int r = all.rank() % 2; r < all.size(); r += 2) expected += r;
  EXPECT_EQ(sum.get(0), double(expected));
}

// The caller computes without entering MPI; the result must be there all the same.
TEST(CommThread, MovesMessagesWhileTheCallerIsBusy) {
  std::vector<float> data(8 << 20, 1.0f);
  world().host().barrier();
  const Work work = world().host().all_reduce({data.data(), data.size(), Dtype::float32}, ReduceOp::sum);
  const Stopwatch watch;
  while (!work.done() && watch.seconds() < 20) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(work.done());
  EXPECT_EQ(data.front(), float(world().size()));
  EXPECT_EQ(data.back(), float(world().size()));
}

TEST(Texts, AreBroadcastAndGatheredWhole) {
  const std::string mine = "rank " + std::to_string(world().rank()) + std::string(world().rank() * 1000, 'x');
  const auto texts = gather_texts(world().host(), mine);
  ASSERT_EQ(int(texts.size()), world().size());
  for (int r = 0; r < world().size(); ++r) EXPECT_EQ(texts[r], "rank " + std::to_string(r) + std::string(r * 1000, 'x'));
  EXPECT_EQ(broadcast_text(world().host(), "", 0), "");
}

TEST(Agreement, OneRanksErrorIsThrownOnAllWithItsMessageAndCode) {
  const int last = world().size() - 1;
  try {
    agree(world().host(), [&] {
      if (world().rank() == last) throw UsageError("no such folder");
    });
    FAIL() << "nothing was thrown";
  } catch (const AgreedError& error) {
    EXPECT_STREQ(error.what(), "no such folder");
    EXPECT_EQ(error.exit_code(), exit_usage);
  }
  EXPECT_NO_THROW(agree(world().host(), [] {}));
}

}  // namespace
}  // namespace braid
