// SPDX-License-Identifier: Apache-2.0
// Which GPU a rank takes, and the one line a user gets when that cannot work.
#pragma once

#include <string>
#include <vector>

#include "comm/world.h"

namespace braid {

struct GpuInfo {
  std::string name, uuid;
  int major = 0, minor = 0;   // compute capability
  bool has_code = true;       // this binary holds code for it
  std::string pci;            // "0000:3b:00.0", as nvidia-smi orders them
};

std::vector<GpuInfo> visible_gpus();  // empty without CUDA, without a GPU or without a driver

// The device of a rank on its host, -1 for the CPU. UsageError with more ranks than GPUs unless share_gpu; Error for a
// GPU this binary holds no code for.
int assign_gpu(const std::vector<GpuInfo>& gpus, int local_rank, int local_ranks, const WorldOptions& options);

// Ranks of one host that ended up on the same GPU: "" or one line that names them.
std::string shared_gpu_problem(const std::vector<RankPlace>& places);

}  // namespace braid
