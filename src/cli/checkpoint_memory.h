// SPDX-License-Identifier: Apache-2.0
// braid checkpoint export --memory: the hash memory of a checkpoint in a folder that braid eval and generate load.
#pragma once

#include <string>

namespace braid {

// Writes the folder, and tells of it on standard output. The run's tokenizer must be where it was, since it says which
// tokens count as the same. UsageError: a checkpoint of a run without a memory.
void export_memory_folder(const std::string& checkpoint, const std::string& folder);

}  // namespace braid
