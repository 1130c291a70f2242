// SPDX-License-Identifier: Apache-2.0
// How a process finds the others: under mpirun or srun through MPI; by a shared file (BRAID_RANK, BRAID_WORLD,
// BRAID_RENDEZVOUS) where no MPI is there; alone otherwise. One World lives in main() for the whole process.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/watchdog.h"

namespace braid {

struct WorldOptions {
  std::string device = "auto";  // auto | cpu | cuda
  bool share_gpu = false;       // allow several ranks on one GPU
};

struct RankPlace {
  int rank = 0, local_rank = 0;
  std::string host;
  std::string device;     // "cpu" or "cuda:0 NVIDIA H200"
  std::string device_id;  // GPU UUID, "" on CPU
  int cpus = 0;           // cores this rank may run on
};

// RAII over MPI_Init_thread/MPI_Finalize, the comm thread and NCCL.
class World {
 public:
  // Throws UsageError with one line when: the world size is 1 under mpirun/srun with more tasks; two ranks share one
  // GPU and share_gpu is off; device = "cuda" and none is usable; a rendezvous variable is missing or wrong.
  static std::unique_ptr<World> connect(const WorldOptions& options);
  virtual ~World() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual int local_rank() const = 0;
  virtual int device_index() const = 0;  // CUDA device of this rank, -1 on CPU
  virtual Communicator& host() = 0;      // for CPU memory (MPI, shared-file sockets, or single)
  virtual Communicator& data() = 0;      // for the device's memory: NCCL on CUDA, else host()
  virtual const std::vector<RankPlace>& places() const = 0;  // the table at start, rank order
  virtual int64_t communicated_bytes() const = 0;  // given so far to calls on host(), data() and what was split from them
  virtual Watchdog& watchdog() = 0;                          // of all calls on host() and data(); idle in a world of one

  // Ends every rank of the job within seconds, after printing "rank R on HOST: message" once. Never returns.
  [[noreturn]] virtual void abort(const std::string& message, int exit_code) = 0;
};

// The rank/host/GPU table as text, one line a rank (ranges collapsed when there are many).
std::string describe_places(const std::vector<RankPlace>& places);

}  // namespace braid
