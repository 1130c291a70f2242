// SPDX-License-Identifier: Apache-2.0
// The file that a failed job leaves: written beside whatever hangs, so in bounded time.
#pragma once

#include <string>

namespace braid {

// Writes FOLDER/NAME on a thread of its own. The path, or "" when that failed or was not done within so many seconds.
std::string write_ring_file(const std::string& folder, const std::string& name, const std::string& document,
                            double seconds);

// "20260102T030405Z"
std::string utc_for_file_name();

}  // namespace braid
