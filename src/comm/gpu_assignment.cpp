// SPDX-License-Identifier: Apache-2.0
#include "comm/gpu_assignment.h"

#include <map>

#include "base/error.h"

namespace braid {

int assign_gpu(const std::vector<GpuInfo>& gpus, int local_rank, int local_ranks, const WorldOptions& options) {
  if (options.device == "cpu") return -1;
  if (gpus.empty()) {
    if (options.device == "cuda") throw UsageError("--device cuda: no usable GPU on this host");
    return -1;
  }
  const int count = static_cast<int>(gpus.size());
  if (local_ranks > count && !options.share_gpu) {
    throw UsageError(str(local_ranks, " ranks on this host but ", count, count == 1 ? " GPU" : " GPUs",
                         ": start one rank a GPU, or pass --share-gpu or --device cpu"));
  }
  const int device = local_rank % count;
  const GpuInfo& gpu = gpus[device];
  if (!gpu.has_code) {
    throw Error(str("cuda:", device, " ", gpu.name, " has compute capability ", gpu.major, ".", gpu.minor,
                    ", for which this binary holds no code; rebuild with launch/setup --arch ", gpu.major, ".", gpu.minor));
  }
  return device;
}

std::string shared_gpu_problem(const std::vector<RankPlace>& places) {
  std::map<std::string, int> owner;
  for (const RankPlace& place : places) {
    if (place.device_id.empty()) continue;
    const auto [other, fresh] = owner.emplace(place.host + place.device_id, place.rank);
    if (fresh) continue;
    return str("ranks ", other->second, " and ", place.rank, " on ", place.host, " share ", place.device,
               ": start one rank a GPU, or pass --share-gpu");
  }
  return "";
}

}  // namespace braid
