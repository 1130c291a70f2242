// SPDX-License-Identifier: Apache-2.0
// From a folder of text to two token shards of its bytes: train.h5 and held-out.h5.
#pragma once

#include <string>

#include "data/text_folder.h"

namespace braid {

// UsageError when the folder is missing or unreadable or holds fewer than two files of text.
TextShardResult build_byte_shards(const std::string& text_folder, const std::string& out_folder,
                                  const TextFolderOptions& options);

}  // namespace braid
