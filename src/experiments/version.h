// SPDX-License-Identifier: Apache-2.0
// What this binary was built from and runs with.
#pragma once

#include <string>

namespace braid {

const char* git_commit();  // of the source tree, with "+" when it had changes; "unknown" outside git

struct Versions {
  std::string braid, torch, nccl, cuda, hdf5, mpi;  // "none" where the build has it not
};
Versions library_versions();

}  // namespace braid
