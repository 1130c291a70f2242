// SPDX-License-Identifier: Apache-2.0
// Holds every file of a checkpoint against its seal, its digest and the digests of its slices, and tells all that is
// wrong. (verify_checkpoint of checkpoint_reader.h stops at the first thing: it answers whether one may be loaded.)
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "store/checkpoint_manifest.h"

namespace braid {

struct FileCheck {
  std::string path;
  int64_t bytes = 0, slices = 0;      // slices: whose digests were compared
  double seconds = 0;
  std::vector<std::string> problems;  // one line each, with the path; none: it is whole
  bool newer = false;                 // of a version that this program does not know, which is no damage
};

// The manifest first, then each shard, read once. A damaged manifest leaves the shards' own seals to compare.
void check_checkpoint(const std::string& folder, const std::function<void(const FileCheck&)>& report);

}  // namespace braid
