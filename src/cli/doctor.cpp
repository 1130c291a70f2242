// SPDX-License-Identifier: Apache-2.0
#include <ATen/Parallel.h>

#include <cstdio>
#include <iostream>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "base/gpu_probe.h"
#include "base/text_table.h"
#include "cli/command.h"
#include "cli/options.h"
#include "experiments/run.h"
#include "experiments/version.h"
#include "parallel/gradient_reducer.h"
#include "train/memory.h"

namespace braid {

namespace {

constexpr const char* doctor_examples = R"(
Examples:
  braid doctor
  mpirun -n 2 --bind-to none braid doctor --device cpu
  mpirun -n 8 --host node1:4,node2:4 --bind-to none braid doctor

Bus bandwidth is what NVIDIA's nccl-tests call so: bytes / seconds * 2 (n - 1) / n.
Exit codes: 0 done; 1 the ranks could not meet, or the driver or a GPU does not fit this build;
2 wrong use (more ranks than GPUs, --device cuda without a usable GPU).
)";

void print_versions() {
  const Versions v = library_versions();
  std::cout << text_table({{"braid", str(v.braid, " ", git_commit())},
                           {"LibTorch", v.torch},
                           {"CUDA runtime", v.cuda},
                           {"NCCL", v.nccl},
                           {"HDF5", v.hdf5},
                           {"MPI", v.mpi},
                           {"cores", std::to_string(std::thread::hardware_concurrency())},
                           {"threads of a rank", std::to_string(at::get_num_threads())},
                           {"free memory", human_bytes(available_host_memory_bytes())}});
}

void print_gpu() {
  const GpuProbe probe = probe_gpu();
  if (!probe.hardware) {
    std::cout << "GPU: no NVIDIA hardware found; training runs on the CPU\n";
    return;
  }
  std::cout << "GPU: NVIDIA hardware, driver " << (probe.driver ? probe.driver_version : "not loaded") << "\n";
  const std::string problem = driver_problem(probe);
  if (!problem.empty()) std::cout << "PROBLEM: " << problem << "\n";
}

// Bus bandwidth of an all-reduce as NVIDIA's nccl-tests define it: bytes / seconds * 2 (n - 1) / n.
std::vector<std::string> measure(Communicator& comm, const at::Device& device, int64_t bytes) {
  const at::Tensor data = at::zeros({bytes / 4}, at::TensorOptions().device(device).dtype(at::kFloat));
  const int rounds = 5;
  double best = 1e30;
  for (int round = 0; round <= rounds; ++round) {
    comm.barrier();
    const Stopwatch watch;
    comm.all_reduce(buffer_of(data), ReduceOp::sum).synchronize();
    if (round > 0) best = std::min(best, watch.seconds());
  }
  const double n = comm.size();
  char time[32], rate[32];
  std::snprintf(time, sizeof time, "%.3f ms", best * 1e3);
  std::snprintf(rate, sizeof rate, "%.2f GB/s", double(bytes) / best * 2 * (n - 1) / n / 1e9);
  return {human_bytes(bytes), time, rate};
}

int examine(World& world) {
  choose_threads(world);
  if (world.rank() == 0) {
    print_versions();
    print_gpu();
    std::cout << describe_places(world.places()) << "\n";
  }
  if (world.size() == 1) {
    std::cout << "One rank: start me under mpirun or srun to measure the bandwidth between ranks.\n";
    return exit_done;
  }
  std::vector<std::vector<std::string>> rows = {{"all-reduce", "best time", "bus bandwidth"}};
  for (const int64_t mebibytes : {1, 25, 100}) {
    rows.push_back(measure(world.data(), device_of(world), mebibytes << 20));
  }
  if (world.rank() == 0) std::cout << "over " << world.data().backend() << ":\n" << text_table(rows);
  return exit_done;
}

}  // namespace

int command_doctor(const Arguments& arguments) {
  cxxopts::Options options(
      "braid doctor",
      "Versions, GPUs, driver and the places of the ranks; under mpirun or srun also the bandwidth\n"
      "of an all-reduce of 1, 25 and 100 MiB between them.");
  options.add_options()("device", "auto, cpu or cuda; auto takes a GPU where there is one",
                        cxxopts::value<std::string>()->default_value("auto"),
                        "NAME")("share-gpu", "allow several ranks on one GPU")("h,help", "this text");
  WorldOptions where;
  const auto use = [&](const cxxopts::ParseResult& parsed) {
    where.device = parsed["device"].as<std::string>();
    where.share_gpu = parsed.count("share-gpu") > 0;
  };
  if (!parse_arguments(options, arguments, use, doctor_examples)) return 0;
  return with_world(where, [](World& world, Logger&) { return examine(world); });
}

}  // namespace braid
