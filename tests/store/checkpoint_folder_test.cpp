// SPDX-License-Identifier: Apache-2.0
// A run's checkpoints by name: the order they are tried in, what is committed, moved aside and removed.
#include "store/checkpoint_folder.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "file_bytes.h"
#include "temp_folder.h"
#include "thrown.h"

namespace braid {
namespace {

namespace fs = std::filesystem;

using Names = std::set<std::string>;

void make(const std::string& root, const std::string& name, const std::string& content = "x") {
  fs::create_directories(root + "/" + name);
  write_bytes(root + "/" + name + "/manifest.h5", content);
}

Names names_in(const std::string& root) {
  Names names;
  for (const auto& entry : fs::directory_iterator(root)) names.insert(entry.path().filename().string());
  return names;
}

std::vector<int64_t> listed(const std::string& root) {
  std::vector<int64_t> steps;
  for (const CheckpointPath& checkpoint : list_checkpoints(root)) steps.push_back(checkpoint.step);
  return steps;
}

TEST(CheckpointFolder, NamesStepsWithEightDigitsOrMore) {
  EXPECT_EQ(checkpoints_of("runs/a"), "runs/a/checkpoints");
  EXPECT_EQ(checkpoint_path("r", 1000), "r/step-00001000");
  EXPECT_EQ(checkpoint_path("r", 1'234'567'890), "r/step-1234567890");
  EXPECT_EQ(temporary_path("r", 0), "r/step-00000000.tmp");
}

TEST(CheckpointFolder, ListsCompleteOnesByNumberNewestFirst) {
  const TempFolder folder;
  for (const char* name : {"step-00000004", "step-00000100", "step-1234567890", "step-00000020.tmp",
                           "step-00000030.broken-1", "step-", "step-x", "step-00000004x", "notes", "step--0000001"}) {
    make(folder.path(), name);
  }
  EXPECT_EQ(listed(folder.path()), (std::vector<int64_t>{1'234'567'890, 100, 4}));
  EXPECT_EQ(list_checkpoints(folder.path()).back().path, folder / "step-00000004");
  EXPECT_TRUE(list_checkpoints(folder / "missing").empty());
}

TEST(CheckpointFolder, CommitRenamesAndMovesWhatHasTheNameAside) {
  const TempFolder folder;
  for (const char* content : {"first", "second", "third"}) {
    prepare_temporary(folder.path(), 8);
    make(folder.path(), "step-00000008.tmp", content);
    commit_checkpoint(folder.path(), 8);
  }
  EXPECT_EQ(names_in(folder.path()), (Names{"step-00000008", "step-00000008.broken-1", "step-00000008.broken-2"}));
  EXPECT_EQ(read_bytes(folder / "step-00000008/manifest.h5"), "third");
  EXPECT_EQ(read_bytes(folder / "step-00000008.broken-1/manifest.h5"), "first");
  EXPECT_EQ(read_bytes(folder / "step-00000008.broken-2/manifest.h5"), "second");
}

TEST(CheckpointFolder, CommitOfNothingLeavesTheOldOne) {
  const TempFolder folder;
  EXPECT_TRUE(contains(thrown_message([&] { commit_checkpoint(folder.path(), 8); }), "step-00000008.tmp"));
  make(folder.path(), "step-00000008");
  EXPECT_THROW(commit_checkpoint(folder.path(), 8), Error);
  EXPECT_FALSE(names_in(folder.path()).empty());
}

TEST(CheckpointFolder, TemporaryIsEmptyAndCanBeDiscarded) {
  const TempFolder folder;
  const std::string root = folder / "a/b/checkpoints";
  prepare_temporary(root, 3);
  make(root, "step-00000003.tmp");
  prepare_temporary(root, 3);
  EXPECT_TRUE(fs::is_empty(root + "/step-00000003.tmp"));
  discard_temporary(root, 3);
  discard_temporary(root, 3);
  EXPECT_TRUE(fs::is_empty(root));
}

TEST(CheckpointFolder, OnlyStaleTemporariesAreRemoved) {
  const TempFolder folder;
  for (const char* name :
       {"step-00000004", "step-00000008.tmp", "step-00000012.tmp", "step-00000004.broken-1", "mine.tmp"}) {
    make(folder.path(), name);
  }
  remove_stale(folder.path());
  EXPECT_EQ(names_in(folder.path()), (Names{"step-00000004", "step-00000004.broken-1", "mine.tmp"}));
  EXPECT_NO_THROW(remove_stale(folder / "missing"));
}

TEST(CheckpointFolder, LaterOnesAreSetAsideNotLost) {
  const TempFolder folder;
  for (const char* name : {"step-00000004", "step-00000008", "step-00000012", "step-00000012.broken-1"})
    make(folder.path(), name);
  EXPECT_EQ(set_aside_later(folder.path(), 4), (std::vector<int64_t>{12, 8}));
  EXPECT_EQ(names_in(folder.path()),
            (Names{"step-00000004", "step-00000008.broken-1", "step-00000012.broken-1", "step-00000012.broken-2"}));
  EXPECT_TRUE(set_aside_later(folder.path(), 4).empty());
}

struct Pruning {
  Retention retention;
  std::vector<int64_t> trusted, stay;
};

class Prune : public testing::TestWithParam<Pruning> {};

TEST_P(Prune, KeepsTheNewestTrustedAndMilestones) {
  const TempFolder folder;
  const std::vector<int64_t> steps = {4, 8, 12, 16, 20, 24};
  for (const int64_t step : steps) make(folder.path(), fs::path(checkpoint_path("", step)).filename());
  const Pruning& pruning = GetParam();
  const std::vector<int64_t> removed = prune_checkpoints(folder.path(), pruning.retention, pruning.trusted);
  std::vector<int64_t> left = listed(folder.path());
  std::reverse(left.begin(), left.end());
  EXPECT_EQ(left, pruning.stay);
  EXPECT_EQ(removed.size() + left.size(), steps.size());
  EXPECT_EQ(names_in(folder.path()).size(), left.size());  // no half-removed ones either
}

// The newest of all is always the one that was just saved, hence trusted.
INSTANTIATE_TEST_SUITE_P(
    Rules, Prune,
    testing::Values(Pruning{{3, 0}, {4, 8, 12, 16, 20, 24}, {16, 20, 24}},
                    Pruning{{1, 0}, {4, 8, 12, 16, 20, 24}, {24}},
                    Pruning{{0, 0}, {4, 8, 12, 16, 20, 24}, {24}},  // never none
                    Pruning{{9, 0}, {4, 8, 12, 16, 20, 24}, {4, 8, 12, 16, 20, 24}},
                    Pruning{{2, 0, 8}, {4, 8, 12, 16, 20, 24}, {8, 20, 24}},   // the best
                    Pruning{{2, 0, 24}, {4, 8, 12, 16, 20, 24}, {20, 24}},
                    Pruning{{2, 8}, {4, 8, 12, 16, 20, 24}, {8, 16, 20, 24}},
                    Pruning{{2, 0}, {16, 24}, {16, 20, 24}},        // 20 may be broken: 16 keeps its place
                    Pruning{{2, 0}, {24}, {4, 8, 12, 16, 20, 24}},  // nothing else is known to be good
                    Pruning{{2, 0}, {}, {4, 8, 12, 16, 20, 24}}));

}  // namespace
}  // namespace braid
