// SPDX-License-Identifier: Apache-2.0
#include "comm/gpu_assignment.h"

#if BRAID_CUDA
#include <cuda_runtime.h>

#include <cstdio>

#include "comm/device_code.h"
#endif

namespace braid {

#if BRAID_CUDA
namespace {

std::string uuid_text(const cudaUUID_t& uuid) {
  std::string text;
  for (const char byte : uuid.bytes) {
    char hex[3];
    std::snprintf(hex, sizeof hex, "%02x", static_cast<unsigned char>(byte));
    text += hex;
  }
  return text;
}

std::string pci_text(int device) {
  char text[32] = {};
  return cudaDeviceGetPCIBusId(text, sizeof text, device) == cudaSuccess ? text : "";
}

}  // namespace

std::vector<GpuInfo> visible_gpus() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) return {};
  std::vector<GpuInfo> gpus;
  for (int device = 0; device < count; ++device) {
    cudaDeviceProp properties = {};
    if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) return {};
    gpus.push_back({properties.name, uuid_text(properties.uuid), properties.major, properties.minor, device_has_code(device),
                    pci_text(device)});
  }
  return gpus;
}
#else
std::vector<GpuInfo> visible_gpus() { return {}; }
#endif

}  // namespace braid
