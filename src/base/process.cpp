// SPDX-License-Identifier: Apache-2.0
#include "base/process.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <string_view>

namespace braid {

std::string quoted(const std::string& argument) {
  constexpr std::string_view plain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
  if (!argument.empty() && argument.find_first_not_of(plain) == std::string::npos) return argument;
  std::string text = "'";
  for (const char c : argument) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

std::string command_line() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  const std::string all((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::string line;
  for (size_t start = 0; start < all.size();) {
    const size_t end = std::min(all.find('\0', start), all.size());
    line += (line.empty() ? "" : " ") + quoted(all.substr(start, end - start));
    start = end + 1;
  }
  return line;
}

namespace {

constexpr std::array<std::string_view, 15> prefixes = {
    "OMP_",   "GOMP_",   "KMP_",     "MKL_",      "DNNL_", "ONEDNN_", "NCCL_",          "CUDA_",
    "CUBLAS_", "TORCH_", "PYTORCH_", "OMPI_MCA_", "UCX_",  "BRAID_",  "GLIBC_TUNABLES"};

// Addresses, ranks and keys of one launch.
constexpr std::array<std::string_view, 8> passing = {"OMPI_MCA_orte_", "OMPI_MCA_ess",  "OMPI_MCA_pmix",
                                                     "OMPI_MCA_initial_wdir", "OMPI_MCA_mpi_oversubscribe",
                                                     "BRAID_RANK", "BRAID_COLUMNS", "OMPI_MCA_shmem_"};

template <class Prefixes>
bool starts_with_any(std::string_view name, const Prefixes& all) {
  return std::any_of(all.begin(), all.end(), [&](std::string_view prefix) { return name.starts_with(prefix); });
}

}  // namespace

std::vector<std::pair<std::string, std::string>> recorded_environment() {
  std::vector<std::pair<std::string, std::string>> found;
  for (char** entry = environ; entry && *entry; ++entry) {
    const std::string_view text(*entry);
    const std::string_view name = text.substr(0, text.find('='));
    if (name.size() == text.size() || !starts_with_any(name, prefixes) || starts_with_any(name, passing)) continue;
    found.emplace_back(name, text.substr(name.size() + 1));
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace braid
