// SPDX-License-Identifier: Apache-2.0
// What this binary was built from and runs with.
#pragma once

#include <string>

namespace braid {

struct Versions {
  std::string braid, torch, nccl, cuda, hdf5, mpi;  // "none" where the build has it not
  std::string commit;                               // of the source tree; "unknown" outside git
  int uncommitted_changes = -1;  // 1 when the sources differed from that commit, 0 when not, -1: unknown
};
Versions library_versions();
const char* git_commit();  // the commit, with "+" when the sources had changes

}  // namespace braid
