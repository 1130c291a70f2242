// SPDX-License-Identifier: Apache-2.0
// How the replicas of a front are started: on which device, on which cores, with which options.
#pragma once

#include "cli/command.h"
#include "cli/replica_process.h"

namespace braid {

// Where each replica computes: "cpu", or "cuda:N". `devices` is what --device names; count 0: as many as it names.
// UsageError: they do not fit each other.
std::vector<std::string> replica_devices(const std::vector<std::string>& devices, int64_t count, bool has_gpu);

// Part `index` of `count`, of cores that are shared out evenly; where there are fewer than parts, one that others have too.
std::vector<int> share_of_cores(const std::vector<int>& cores, size_t index, size_t count);

// arguments: of the front, which may hold as many connections. Replicas listen on this machine's own address alone and take requests with `key`.
std::vector<ReplicaCommand> replica_commands(const Arguments& arguments, const std::vector<std::string>& devices,
                                             const std::vector<int>& cores, const std::string& key,
                                             size_t connections);

// "1" of "cuda:1"; "" of anything else.
std::string gpu_number(const std::string& device);
// What of CUDA's variables makes this GPU the only one that a process sees.
std::vector<std::pair<std::string, std::string>> only_gpu(const std::string& number);

}  // namespace braid
