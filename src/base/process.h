// SPDX-License-Identifier: Apache-2.0
// What started this process: for the records a run keeps.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace braid {

// The command line, quoted so that a shell would split it the same way; "" where the system does not tell.
std::string command_line();
std::string quoted(const std::string& argument);  // for a shell; unchanged where nothing needs it

// Environment variables that change how a run computes or communicates (OMP_, MKL_, NCCL_, CUDA_, TORCH_, OMPI_MCA_,
// UCX_, …), by name; without those that a launcher sets anew for each process.
std::vector<std::pair<std::string, std::string>> recorded_environment();

}  // namespace braid
