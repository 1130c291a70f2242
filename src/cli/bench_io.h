// SPDX-License-Identifier: Apache-2.0
// Times checkpoints beside plain files of the same bytes on the same disk, through the code that training uses.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "comm/world.h"

namespace braid {

struct IoPlan {
  int64_t bytes = int64_t{1} << 30;  // of a rank's share of the state
  std::string folder = ".";          // on the disk to measure; a folder made in it is removed at the end
  int64_t rounds = 3;
};

// Seconds of one round, each those of the slowest rank.
struct IoTiming {
  int64_t round = 0;        // 0: the first save of the process, which touches the copy's memory for the first time
  double plain_write = 0;   // every rank a file, in pieces of 1 MiB, fsync
  double early_write = 0;   // the same in reserved space, the disk told to begin every 8 MiB: the most it takes here
  double save = 0;          // from the hand-over to the commit: shards with digests, manifest, fsync, rename
  double blocked = 0;       // the copy that training waits for
  double memory_copy = 0;   // of as many bytes, into memory that was used before
  double digest = 0;        // CRC-32C of as many bytes in memory
  double plain_read = 0;    // every rank the files of all, not in the page cache
  double load = 0;          // verified and read into the tensors of every rank, not in the page cache
  double plain_read_cached = 0, load_cached = 0;
};

// Collective over world.host(); `tell` is called on every rank after each round, first with round 0, of which only `save`
// and `blocked` are measured. Error where the disk is full or files cannot be written.
void bench_io(World& world, const IoPlan& plan, const std::function<void(const IoTiming&)>& tell);

}  // namespace braid
