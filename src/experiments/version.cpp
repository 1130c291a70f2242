// SPDX-License-Identifier: Apache-2.0
#include "experiments/version.h"

#include <hdf5.h>
#include <mpi.h>
#include <torch/headeronly/version.h>

#include "base/error.h"
#include "braid_git_commit.h"
#if BRAID_CUDA
#include <cuda_runtime.h>
#include <nccl.h>
#endif

namespace braid {

const char* git_commit() { return BRAID_GIT_COMMIT; }

namespace {

std::string mpi_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  MPI_Get_library_version(text, &length);
  const std::string whole(text, static_cast<size_t>(length));
  return whole.substr(0, whole.find_first_of(",\n"));
}

std::string hdf5_version() {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return str(major, ".", minor, ".", release);
}

}  // namespace

Versions library_versions() {
  Versions v{BRAID_VERSION, TORCH_VERSION, "none", "none", hdf5_version(), mpi_version(), "", -1};
  const std::string commit = git_commit();
  if (commit != "unknown") v.uncommitted_changes = commit.ends_with('+');
  v.commit = commit.substr(0, commit.find('+'));
#if BRAID_CUDA
  int nccl = 0, cuda = 0;
  ncclGetVersion(&nccl);
  cudaRuntimeGetVersion(&cuda);
  v.nccl = str(nccl / 10000, ".", nccl / 100 % 100, ".", nccl % 100);
  v.cuda = str(cuda / 1000, ".", cuda / 10 % 100);
#endif
  return v;
}

}  // namespace braid
