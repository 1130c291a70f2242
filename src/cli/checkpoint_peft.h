// SPDX-License-Identifier: Apache-2.0
// braid checkpoint export --peft: the adapters of a checkpoint in the files that peft loads.
#pragma once

#include <string>

namespace braid {

// Writes the folder, and tells of it on standard output. UsageError: a checkpoint of a run without adapters.
void export_peft_folder(const std::string& checkpoint, const std::string& folder);

}  // namespace braid
