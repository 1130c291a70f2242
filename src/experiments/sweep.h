// SPDX-License-Identifier: Apache-2.0
// Runs a sweep, in one of two ways. Inside an MPI job its runs share the job's ranks: a run's failure that all ranks agree
// on is recorded and the sweep goes on; a crash ends the job. Started alone it is a driver: each run is a child job
// (mpirun, or srun inside a SLURM allocation), and the sweep survives any death of one.
#pragma once

#include "base/log.h"
#include "comm/world.h"
#include "experiments/run_start.h"
#include "experiments/sweep_plan.h"

namespace braid {

// Collective over the world. Groups of ranks take the runs side by side. False when it was stopped before its end; the
// runs that were under way go on from their checkpoints next time.
bool run_sweep_in_job(SweepPlan plan, int64_t side_by_side, World& world, Logger& logger, const ResumeOptions& resume);

struct SweepDriver {
  std::string binary;               // this program
  int64_t ranks = 1;                // of the whole sweep
  int64_t side_by_side = 1;         // each run gets ranks / side_by_side
  std::vector<std::string> common;  // options handed on: --device, --share-gpu
  std::vector<std::string> gpus;    // ids for CUDA_VISIBLE_DEVICES, shared out over the slots; empty on CPUs
};

// Returns the exit code: 0 when every run ended by itself, 1 when one failed, 85 when the sweep was stopped: by a signal,
// or because a run had to stop before the end of its batch job.
int drive_sweep(SweepPlan plan, const SweepDriver& driver, Logger& logger);

// The command line of one child: how it is launched, then `binary train …`. A pure function of its arguments.
std::vector<std::string> child_command(const SweepPlan& plan, const SweepRun& run, const SweepDriver& driver,
                                       int64_t slot, bool inside_slurm, bool as_root);

}  // namespace braid
