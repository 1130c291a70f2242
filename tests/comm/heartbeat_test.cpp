// SPDX-License-Identifier: Apache-2.0
// Ranks are threads here, which meet through a shared folder.
#include "comm/heartbeat.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <thread>

#include "base/clock.h"
#include "comm/file_communicator.h"

namespace braid {
namespace {

class TemporaryFolder {
 public:
  TemporaryFolder() : path_((std::filesystem::temp_directory_path() / "heartbeat-XXXXXX").string()) {
    if (!mkdtemp(path_.data())) throw std::runtime_error("no temporary folder");
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::vector<std::vector<HeartbeatPeer>> meet(int ranks) {
  const TemporaryFolder folder;
  std::vector<std::vector<HeartbeatPeer>> met(static_cast<size_t>(ranks));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      const auto comm = make_file_communicator(folder.path(), rank, ranks);
      met[rank] = meet_for_heartbeat(*comm);
      comm->barrier();
    });
  }
  for (std::thread& thread : threads) thread.join();
  return met;
}

bool soon(const std::function<bool()>& condition) {
  const Stopwatch watch;
  while (!condition()) {
    if (watch.seconds() > 10) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

// One end, with what it was told.
struct End {
  explicit End(std::vector<HeartbeatPeer> peers) : heartbeat(std::move(peers), handlers()) { heartbeat.start(); }
  HeartbeatHandlers handlers() {
    return {[] { return std::string("{\"operation\": \"barrier\"}"); },
            [this](int rank, Contact contact) {
              lost_rank = rank;
              lost_how = static_cast<int>(contact);
            },
            [this](int, const Frame& frame) { received_bytes = static_cast<int>(frame.text.size()); }, [] {}};
  }
  std::atomic<int> lost_rank{-1}, lost_how{-1}, received_bytes{-1};
  Heartbeat heartbeat;
};

TEST(Heartbeat, RankZeroHasAConnectionToEachOtherRank) {
  const auto met = meet(4);
  ASSERT_EQ(met[0].size(), 3u);
  for (int rank = 1; rank < 4; ++rank) {
    ASSERT_EQ(met[rank].size(), 1u);
    EXPECT_EQ(met[rank][0].rank, 0);
    EXPECT_EQ(met[rank][0].process, getpid());
  }
}

TEST(Heartbeat, BeatsCarryTheLastCollective) {
  auto met = meet(2);
  End root(std::move(met[0])), other(std::move(met[1]));
  EXPECT_TRUE(soon([&] { return root.heartbeat.contacts()[0].last_beat == "{\"operation\": \"barrier\"}"; }));
  EXPECT_TRUE(soon([&] { return other.heartbeat.contacts()[0].last_beat == "{\"operation\": \"barrier\"}"; }));
}

TEST(Heartbeat, AGoodbyeIsNoLossOnEitherSide) {
  auto met = meet(3);
  auto root = std::make_unique<End>(std::move(met[0])), first = std::make_unique<End>(std::move(met[1]));
  End second(std::move(met[2]));
  first->heartbeat.stop();
  EXPECT_TRUE(soon([&] {
    return root->heartbeat.contacts()[0].contact == Contact::left ||
           root->heartbeat.contacts()[1].contact == Contact::left;
  }));
  root->heartbeat.stop();
  EXPECT_TRUE(soon([&] { return second.heartbeat.contacts()[0].contact == Contact::left; }));
  EXPECT_EQ(root->lost_rank, -1);
  EXPECT_EQ(second.lost_rank, -1);
}

TEST(Heartbeat, AConnectionThatEndsWithoutAGoodbyeIsALossAtOnce) {
  auto met = meet(2);
  End root(std::move(met[0]));
  met[1].clear();
  EXPECT_TRUE(soon([&] { return root.lost_rank == 1; }));
  EXPECT_EQ(root.lost_how, static_cast<int>(Contact::closed));
}

TEST(Heartbeat, SilenceIsALossAfterTheTimeout) {
  auto met = meet(2);
  End root(std::move(met[0]));  // the other end stays open and says nothing
  root.heartbeat.set_timeout(1.5);
  const Stopwatch watch;
  EXPECT_TRUE(soon([&] { return root.lost_rank == 1; }));
  EXPECT_GE(watch.seconds(), 1.0);
  EXPECT_EQ(root.lost_how, static_cast<int>(Contact::silent));
}

TEST(Heartbeat, CarriesLongTextsWhole) {
  auto met = meet(2);
  End root(std::move(met[0])), other(std::move(met[1]));
  other.heartbeat.send(0, FrameKind::ring, std::string(5 << 20, 'x'));
  EXPECT_TRUE(soon([&] { return root.received_bytes == 5 << 20; }));
}

// Both ends of one connection.
std::pair<FrameSocket, Descriptor> connection() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) throw std::runtime_error("no socket pair");
  return {FrameSocket(Descriptor(ends[0])), Descriptor(ends[1])};
}

TEST(FrameSocket, AFrameThatComesInPiecesIsOne) {
  auto [socket, other] = connection();
  const char frame[] = {3, 0, 0, 0, static_cast<char>(FrameKind::beat), 'a', 'b', 'c'};
  for (size_t i = 0; i < sizeof frame; ++i) {
    EXPECT_TRUE(socket.read(100).empty());
    ASSERT_EQ(write(other.number(), frame + i, 1), 1);
  }
  const auto frames = socket.read(100);
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(frames[0].text, "abc");
  EXPECT_FALSE(socket.ended());
}

TEST(FrameSocket, WhatIsNoFrameEndsTheConnection) {
  auto [socket, other] = connection();
  const std::string request = "GET / HTTP/1.1\r\n\r\n";
  ASSERT_EQ(write(other.number(), request.data(), request.size()), ssize_t(request.size()));
  EXPECT_TRUE(socket.read(64).empty());
  EXPECT_TRUE(socket.ended());
}

TEST(FrameSocket, WhatWasSentBeforeTheEndArrives) {
  auto [socket, other] = connection();
  const char frame[] = {0, 0, 0, 0, static_cast<char>(FrameKind::goodbye)};
  ASSERT_EQ(write(other.number(), frame, sizeof frame), ssize_t(sizeof frame));
  other.close();
  EXPECT_EQ(socket.read(64).size(), 1u);
  EXPECT_TRUE(socket.ended());
  socket.queue(FrameKind::beat, "to nobody");
  socket.send_queued();  // no signal ends this process
  EXPECT_EQ(socket.queued_bytes(), 0u);
}

}  // namespace
}  // namespace braid
