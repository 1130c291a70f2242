// SPDX-License-Identifier: Apache-2.0
#include "cli/replica_commands.h"

#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "cli/comma_list.h"

namespace braid {

namespace {

constexpr const char* visible_gpus = "CUDA_VISIBLE_DEVICES";
constexpr const char* threads_variable = "OMP_NUM_THREADS";
constexpr size_t spare = 16;  // connections: for the front's own questions

// Options that the front alone has; each takes a value.
const std::vector<std::string>& own_options() {
  static const std::vector<std::string> names = {"--replicas", "--device",       "--host",      "--port",
                                                 "--api-key-file", "--callback-url", "--worker-id", "--connections"};
  return names;
}

Arguments without_own(const Arguments& arguments) {
  Arguments kept;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string name = arguments[i].substr(0, arguments[i].find('='));
    const bool own = std::find(own_options().begin(), own_options().end(), name) != own_options().end();
    if (!own) kept.push_back(arguments[i]);
    if (own && name == arguments[i]) ++i;
  }
  return kept;
}

}  // namespace

std::string gpu_number(const std::string& device) {
  constexpr const char* prefix = "cuda:";
  const std::string number = device.starts_with(prefix) ? device.substr(std::string(prefix).size()) : "";
  return number.size() <= 4 && number.find_first_not_of("0123456789") == std::string::npos ? number : "";
}

std::vector<std::pair<std::string, std::string>> only_gpu(const std::string& number) {
  const char* visible = std::getenv(visible_gpus);
  const std::vector<std::string> granted = comma_list(visible ? visible : "");
  const auto index = static_cast<size_t>(std::stoi(number));
  if (visible && index >= granted.size()) {
    throw UsageError(str("--device cuda:", number, ": ", visible_gpus, "=", visible, " has no such GPU"));
  }
  return {{"CUDA_DEVICE_ORDER", "PCI_BUS_ID"}, {visible_gpus, visible ? granted[index] : number}};
}

std::vector<std::string> replica_devices(const std::vector<std::string>& devices, int64_t count, bool has_gpu) {
  std::vector<std::string> all = devices;
  for (std::string& device : all) {
    if (device == "auto") device = has_gpu ? "cuda" : "cpu";
    if (device == "cpu" || device == "cuda" || !gpu_number(device).empty()) continue;
    throw UsageError(str("--device ", device, ": expected auto, cpu, cuda, or cuda:0,cuda:1,…"));
  }
  const size_t replicas = count > 0 ? static_cast<size_t>(count) : all.size();
  if (all.size() == 1 && gpu_number(all.front()).empty()) all.assign(replicas, all.front());
  if (all.size() != replicas) {
    throw UsageError(str("--replicas ", count, ": expected as many as --device names, ", all.size()));
  }
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i] == "cuda") all[i] = str("cuda:", i);
  }
  return all;
}

std::vector<int> share_of_cores(const std::vector<int>& cores, size_t index, size_t count) {
  if (cores.empty()) return {};
  if (cores.size() < count) return {cores[index % cores.size()]};
  const auto begin = cores.begin() + static_cast<int64_t>(cores.size() * index / count);
  const auto end = cores.begin() + static_cast<int64_t>(cores.size() * (index + 1) / count);
  return {begin, end};
}

std::vector<ReplicaCommand> replica_commands(const Arguments& arguments, const std::vector<std::string>& devices,
                                             const std::vector<int>& cores, const std::string& key,
                                             size_t connections) {
  std::vector<ReplicaCommand> commands;
  for (size_t i = 0; i < devices.size(); ++i) {
    const std::string gpu = gpu_number(devices[i]);
    const std::vector<int> share = share_of_cores(cores, i, devices.size());
    ReplicaCommand command;
    command.words = {"serve"};
    for (const std::string& word : without_own(arguments)) command.words.push_back(word);
    const Arguments own = {"--host",   "127.0.0.1",                    "--port",        "0",
                           "--device", gpu.empty() ? "cpu" : "cuda", "--connections", std::to_string(connections + spare)};
    command.words.insert(command.words.end(), own.begin(), own.end());
    command.environment = {{"BRAID_API_KEYS", key}};
    if (!std::getenv(threads_variable)) {
      command.environment.emplace_back(threads_variable, std::to_string(std::max<size_t>(share.size(), 1)));
    }
    if (gpu.empty()) {
      command.cores = share;
    } else {
      for (auto& variable : only_gpu(gpu)) command.environment.push_back(std::move(variable));
    }
    commands.push_back(std::move(command));
  }
  return commands;
}

}  // namespace braid
