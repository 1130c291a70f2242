// SPDX-License-Identifier: Apache-2.0
#include "comm/world.h"

#include <mpi.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "base/gpu_probe.h"
#include "comm/agreement.h"
#include "comm/bounded.h"
#include "comm/failure_response.h"
#include "comm/file_communicator.h"
#include "comm/gpu_assignment.h"
#include "comm/launch_environment.h"
#include "comm/mpi_communicator.h"
#include "comm/nccl_communicator.h"
#include "comm/places.h"
#include "comm/recording_communicator.h"

namespace braid {

namespace {

constexpr double nccl_abort_seconds = 3;

// MPI_Init to MPI_Finalize.
class MpiSession {
 public:
  MpiSession() {
    int provided = 0;
    check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided), "start");
    if (provided < MPI_THREAD_SERIALIZED) throw Error("this MPI does not let a thread other than the first make calls");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  }
  // While an exception ends this rank the others may be anywhere; MPI_Finalize would wait for them for ever.
  ~MpiSession() {
    if (std::uncaught_exceptions() == 0) MPI_Finalize();
  }
};

int local_rank_by_shared_memory(int& local_ranks) {
  MPI_Comm local = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &local), "split by host");
  int rank = 0;
  MPI_Comm_rank(local, &rank);
  MPI_Comm_size(local, &local_ranks);
  MPI_Comm_free(&local);
  return rank;
}

// Whatever started the ranks: who they are, their devices and communicators.
class ConnectedWorld final : public World {
 public:
  explicit ConnectedWorld(const WorldOptions& options) {
    const LaunchEnvironment environment = read_launch_environment([](const char* name) { return std::getenv(name); });
    require_driver(options);
    meet(environment);
    if (size() > 1) host_ = make_recording_communicator(std::move(host_), recorder_, "host");
    int local_ranks = 1;
    find_neighbours(environment, local_ranks);
    take_device(options, local_ranks);
    watchdog_ = start_watchdog();
    if (device_ >= 0) connect_nccl();
  }

  ~ConnectedWorld() override {
    if (std::uncaught_exceptions() > 0 && comm_thread_) comm_thread_->abandon();
  }

  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }
  int local_rank() const override { return local_rank_; }
  int device_index() const override { return device_; }
  Communicator& host() override { return *host_; }
  Communicator& data() override { return nccl_ ? *nccl_ : *host_; }
  int64_t communicated_bytes() const override { return recorder_->bytes(); }
  Watchdog& watchdog() override { return *watchdog_; }
  const std::vector<RankPlace>& places() const override { return places_; }

  [[noreturn]] void abort(const std::string& message, int code) override {
    watchdog_->report_failure(message, code);
    end_job(code);
  }

 private:
  [[noreturn]] void end_job(int code) {
    if (mpi_) {
      // MPI_Abort itself has been seen to hang; it gets five seconds.
      shielded_thread([code] { MPI_Abort(MPI_COMM_WORLD, code); }).detach();
      std::this_thread::sleep_for(std::chrono::seconds(5));
    }
    _exit(code);
  }

  std::unique_ptr<Watchdog> start_watchdog() {
    if (size() == 1) return std::make_unique<Watchdog>();
    FailureSite site = {rank(), {}, recorder_, nullptr};
    for (const RankPlace& place : places_) site.hosts.push_back(place.host);
    if (mpi_) site.abort_job = [this](int code) { abort_job(code); };
    return std::make_unique<Watchdog>(*host_, std::move(site));
  }

  // On a thread of the watchdog, which does not wait for ever. NCCL first, or its kernels would wait for the lost rank.
  void abort_job(int code) {
    within(nccl_abort_seconds, [communicator = to_abort_.load()] {
      if (communicator) communicator->abort();
      return true;
    });
    MPI_Abort(MPI_COMM_WORLD, code);
  }

  void connect_nccl() {
    if (size() == 1) {
      nccl_ = make_nccl_communicator(*host_, device_);
      return;
    }
    const auto channel = recorder_->open("nccl", size(), false);
    const auto call = recorder_->begin(channel, {"connect"});
    auto connected = make_nccl_communicator(*host_, device_);
    recorder_->finish(call, CallState::done);
    recorder_->close(channel);
    nccl_ = make_recording_communicator(std::move(connected), recorder_, "data");
    to_abort_ = nccl_.get();
  }

  static void require_driver(const WorldOptions& options) {
    if (options.device == "cpu") return;
    const std::string problem = driver_problem(probe_gpu());
    if (!problem.empty()) throw Error(problem);
  }

  void meet(const LaunchEnvironment& environment) {
    if (environment.launcher == Launcher::alone) {
      host_ = make_single_communicator();
    } else if (environment.launcher == Launcher::file) {
      host_ = make_file_communicator(environment.rendezvous, environment.rank, environment.ranks);
    } else {
      mpi_ = std::make_unique<MpiSession>();
      comm_thread_ = std::make_shared<CommThread>();
      host_ = make_mpi_communicator(MPI_COMM_WORLD, comm_thread_);
      const std::string problem = singleton_problem(environment, host_->size());
      if (!problem.empty()) throw UsageError(problem);
    }
  }

  void find_neighbours(const LaunchEnvironment& environment, int& local_ranks) {
    if (environment.launcher == Launcher::mpi) {
      local_rank_ = local_rank_by_shared_memory(local_ranks);
      return;
    }
    const auto hosts = gather_texts(*host_, host_name());
    local_ranks = 0;
    for (int rank = 0; rank < size(); ++rank) {
      if (hosts[rank] != host_name()) continue;
      if (rank < this->rank()) ++local_rank_;
      ++local_ranks;
    }
  }

  void take_device(const WorldOptions& options, int local_ranks) {
    RankPlace mine;
    mine.local_rank = local_rank_;
    mine.device = "cpu";
    agree(*host_, [&] {
      const std::vector<GpuInfo> gpus = options.device == "cpu" ? std::vector<GpuInfo>{} : visible_gpus();
      device_ = assign_gpu(gpus, local_rank_, local_ranks, options);
      if (device_ < 0) return;
      mine.device = str("cuda:", device_, " ", gpus[device_].name);
      mine.device_id = gpus[device_].uuid;
    });
    places_ = gather_places(*host_, mine);
    const std::string problem = shared_gpu_problem(places_);
    if (problem.empty()) return;
    if (!options.share_gpu) throw AgreedError(problem, exit_usage);
    // NCCL refuses two ranks on one GPU of a host; it connects those of different hosts.
    setenv("NCCL_HOSTID", str(host_name(), "-", rank()).c_str(), 0);
  }

  // Destroyed in reverse: the watchdog, communicators, then the thread that serves them, then MPI.
  std::unique_ptr<MpiSession> mpi_;
  std::shared_ptr<CommThread> comm_thread_;
  std::shared_ptr<CollectiveRecorder> recorder_ = std::make_shared<CollectiveRecorder>();
  std::unique_ptr<Communicator> host_, nccl_;
  std::atomic<Communicator*> to_abort_{nullptr};
  std::vector<RankPlace> places_;
  int local_rank_ = 0, device_ = -1;
  std::unique_ptr<Watchdog> watchdog_;
};

}  // namespace

std::unique_ptr<World> World::connect(const WorldOptions& options) { return std::make_unique<ConnectedWorld>(options); }

}  // namespace braid
