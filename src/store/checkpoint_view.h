// SPDX-License-Identifier: Apache-2.0
// Virtual datasets that show a checkpoint's tensors whole although their elements lie in several shards.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "store/checkpoint_shard.h"

namespace braid {

// Adds /view/<name> of each tensor to a manifest, for any reader of HDF5 1.10 and newer. It names shards relative to the
// manifest. Where a shard is missing, floats read as NaN: a view is for looking, the manifest's tables are what is loaded
// from.
void add_views(h5::File& file, const std::map<std::string, TensorSlice>& tensors, const std::vector<ShardRecord>& shards);

}  // namespace braid
