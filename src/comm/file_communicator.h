// SPDX-License-Identifier: Apache-2.0
// Ranks that meet through a folder on a shared filesystem, where no MPI can start them. Meant for start-up and small
// sums: GPU runs exchange their NCCL id through it, and every call writes one file a rank.
#pragma once

#include <memory>
#include <string>

#include "comm/communicator.h"

namespace braid {

// Creates `folder` or joins the ranks already there. UsageError when it is left over from another run.
std::unique_ptr<Communicator> make_file_communicator(const std::string& folder, int rank, int ranks);

}  // namespace braid
