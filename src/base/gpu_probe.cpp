// SPDX-License-Identifier: Apache-2.0
#include "base/gpu_probe.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>

#include "base/error.h"

namespace braid {

namespace fs = std::filesystem;

namespace {

std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// PCI class 0x03xxxx: display and 3D controllers.
bool is_nvidia_gpu(const fs::path& device) {
  return first_line(device / "vendor") == "0x10de" && first_line(device / "class").starts_with("0x03");
}

bool on_pci_bus(const fs::path& root) {
  std::error_code none;
  for (const auto& device : fs::directory_iterator(root / "sys/bus/pci/devices", none)) {
    if (is_nvidia_gpu(device.path())) return true;
  }
  return false;
}

}  // namespace

GpuProbe probe_gpu(const std::string& root) {
  GpuProbe probe;
  const std::string line = first_line(fs::path(root) / "proc/driver/nvidia/version");
  probe.driver = !line.empty();
  std::smatch version;
  if (std::regex_search(line, version, std::regex(R"((\d+\.\d+(\.\d+)?))"))) probe.driver_version = version[1];
  probe.hardware = probe.driver || on_pci_bus(root);
  return probe;
}

std::string driver_problem(const GpuProbe& probe) {
  if (!probe.hardware) return "";
  const std::string remedy = str("; this build needs driver ", minimum_driver_major,
                                 " or newer (CUDA 13): update the driver, or run with --device cpu");
  if (!probe.driver) return "found NVIDIA hardware but no loaded driver" + remedy;
  if (std::atoi(probe.driver_version.c_str()) >= minimum_driver_major) return "";
  const std::string version = probe.driver_version.empty() ? "of unknown version" : probe.driver_version;
  return "found NVIDIA hardware with driver " + version + remedy;
}

}  // namespace braid
