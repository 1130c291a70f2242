// SPDX-License-Identifier: Apache-2.0
// Is there NVIDIA hardware, and can this build drive it? Asked before anything else starts, without linking CUDA.
#pragma once

#include <string>

namespace braid {

struct GpuProbe {
  bool hardware = false;        // an NVIDIA display or 3D controller on the PCI bus, or a loaded driver
  bool driver = false;          // /proc/driver/nvidia/version is there
  std::string driver_version;   // "570.86.10"
};

constexpr int minimum_driver_major = 580;  // CUDA 13

GpuProbe probe_gpu(const std::string& root = "/");  // tests hand in a folder that stands for /
// "" when all is well, else one line: found, needed, remedy.
std::string driver_problem(const GpuProbe& probe);

}  // namespace braid
