// SPDX-License-Identifier: Apache-2.0
// Room that is reserved and writing that begins early change nothing of what a file holds. What happens where there is no
// room: tests/faults/test_disk.py, on a disk of its own.
#include "store/posix_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "file_bytes.h"
#include "temp_folder.h"

namespace braid {
namespace {

TEST(PosixFile, ReservingKeepsWhatIsThereAndTakesRoom) {
  const TempFolder folder;
  const std::string path = folder / "file";
  write_bytes(path, "content");
  PosixFile::open_to_change(path).reserve(1 << 20);
  EXPECT_EQ(read_bytes(path), "content" + std::string((1 << 20) - 7, '\0'));
  struct stat info = {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_GE(info.st_blocks * 512, 1 << 20);
}

TEST(PosixFile, ReservingLessThanThereIsCutsNothing) {
  const TempFolder folder;
  write_bytes(folder / "file", "content");
  PosixFile::open_to_change(folder / "file").reserve(3);
  EXPECT_EQ(read_bytes(folder / "file"), "content");
}

TEST(PosixFile, WritingOutEarlyChangesNothing) {
  const TempFolder folder;
  write_bytes(folder / "file", "");
  PosixFile file = PosixFile::open_to_change(folder / "file");
  file.write("content", 7, 0);
  file.start_writing_out(0, 7);
  file.start_writing_out(1 << 20, 1 << 20);  // beyond the end
  file.sync();
  EXPECT_EQ(read_bytes(folder / "file"), "content");
}

}  // namespace
}  // namespace braid
