// SPDX-License-Identifier: Apache-2.0
#include "comm/nccl_communicator.h"

#include "base/error.h"

#if BRAID_CUDA
#include <nccl.h>

#include <chrono>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>

#include "comm/cuda_handles.h"
#endif

namespace braid {

#if BRAID_CUDA

namespace {

void check_nccl(ncclResult_t status, const char* what) {
  if (status != ncclSuccess) throw Error(str("NCCL: ", what, ": ", ncclGetErrorString(status)));
}

ncclDataType_t type_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::float32: return ncclFloat32;
    case Dtype::float64: return ncclFloat64;
    case Dtype::bfloat16: return ncclBfloat16;
    case Dtype::int64: return ncclInt64;
    case Dtype::uint8: return ncclUint8;
  }
  return ncclFloat32;
}

ncclRedOp_t op_of(ReduceOp op) { return op == ReduceOp::sum ? ncclSum : op == ReduceOp::max ? ncclMax : ncclMin; }

void require_same_library() {
  int loaded = 0;
  check_nccl(ncclGetVersion(&loaded), "version");
  if (loaded / 100 != NCCL_VERSION_CODE / 100) {
    throw Error(str("NCCL ", loaded, " was loaded, but braid was compiled against ", NCCL_VERSION_CODE,
                    ": LD_LIBRARY_PATH names another NCCL"));
  }
}

// NCCL's handle, shared with the works under way: the watchdog asks them from its own thread, perhaps after the
// communicator has gone.
class NcclHandle {
 public:
  ncclComm_t* address() { return &comm_; }
  ncclComm_t get() const { return comm_; }

  // Throws what NCCL has found wrong with the calls under way.
  void check() {
    const std::lock_guard lock(mutex_);
    if (aborted_) throw Error("NCCL: the job is being ended");
    ncclResult_t state = ncclSuccess;
    if (comm_ != nullptr) ncclCommGetAsyncError(comm_, &state);
    if (state != ncclSuccess && state != ncclInProgress) check_nccl(state, "collective");
  }

  void destroy() {
    if (const ncclComm_t comm = take(false)) ncclCommDestroy(comm);
  }
  void abort() {
    if (const ncclComm_t comm = take(true)) ncclCommAbort(comm);
  }

 private:
  ncclComm_t take(bool aborting) {
    const std::lock_guard lock(mutex_);
    aborted_ = aborted_ || aborting;
    return std::exchange(comm_, nullptr);
  }

  std::mutex mutex_;
  ncclComm_t comm_ = nullptr;
  bool aborted_ = false;
};

// A call under way on the communicator's stream.
class NcclWork final : public Work::State {
 public:
  NcclWork(std::shared_ptr<NcclHandle> handle, int device, cudaStream_t consumer)
      : handle_(std::move(handle)), device_(device), consumer_(consumer) {}
  CudaEvent& finished() { return finished_; }

  void wait() override { check_cuda(cudaStreamWaitEvent(consumer_, finished_.get(), 0), "wait for NCCL"); }
  bool done() override {
    try {
      return has_finished();
    } catch (const Error&) {
      return true;  // synchronize() says what is wrong
    }
  }
  void synchronize() override {
    while (!has_finished()) std::this_thread::sleep_for(std::chrono::microseconds(50));
  }

 private:
  // A thread that has not chosen a device would start to use the first one.
  void choose_device() const {
    int current = -1;
    if (cudaGetDevice(&current) != cudaSuccess || current != device_) check_cuda(cudaSetDevice(device_), "choose device");
  }

  bool has_finished() {
    choose_device();
    const cudaError_t status = cudaEventQuery(finished_.get());
    if (status == cudaSuccess) return true;
    if (status != cudaErrorNotReady) check_cuda(status, "collective");
    cudaGetLastError();  // "not ready" would otherwise be found by whoever asks for errors on this thread next
    handle_->check();
    return false;
  }

  std::shared_ptr<NcclHandle> handle_;
  int device_;
  cudaStream_t consumer_;
  CudaEvent finished_;
};

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(Communicator& host, std::unique_ptr<Communicator> owned_host, int device)
      : owned_host_(std::move(owned_host)), host_(owned_host_ ? *owned_host_ : host), device_(device) {
    require_same_library();
    check_cuda(cudaSetDevice(device), "choose device");
    stream_ = std::make_unique<CudaStream>();
    ncclUniqueId id = {};
    if (host_.rank() == 0) check_nccl(ncclGetUniqueId(&id), "unique id");
    host_.broadcast({&id, sizeof id, Dtype::uint8}, 0).wait();
    check_nccl(ncclCommInitRank(handle_->address(), host_.size(), id, host_.rank()), "start");
  }
  ~NcclCommunicator() override {
    // A rank that fails leaves its collectives unfinished: destroying would wait for them.
    if (std::uncaught_exceptions() > 0) return;
    handle_->destroy();
  }

  int rank() const override { return host_.rank(); }
  int size() const override { return host_.size(); }
  const char* backend() const override { return "nccl"; }

  Work all_reduce(Buffer b, ReduceOp op) override {
    return launch("all_reduce", b, [&](cudaStream_t s) {
      return ncclAllReduce(b.data, b.data, b.count, type_of(b.dtype), op_of(op), comm(), s);
    });
  }
  Work all_gather(Buffer in, Buffer out) override {
    return launch("all_gather", in, [&](cudaStream_t s) {
      return ncclAllGather(in.data, out.data, in.count, type_of(in.dtype), comm(), s);
    });
  }
  Work reduce_scatter(Buffer in, Buffer out, ReduceOp op) override {
    return launch("reduce_scatter", in, [&](cudaStream_t s) {
      return ncclReduceScatter(in.data, out.data, out.count, type_of(in.dtype), op_of(op), comm(), s);
    });
  }
  Work broadcast(Buffer b, int root) override {
    return launch("broadcast", b, [&](cudaStream_t s) {
      return ncclBroadcast(b.data, b.data, b.count, type_of(b.dtype), root, comm(), s);
    });
  }
  Work all_to_all(Buffer in, Buffer out) override {
    return launch("all_to_all", in, [&](cudaStream_t s) { return exchange_slices(in, out, s); });
  }
  Work all_to_all_parts(Buffer in, const PartCounts& in_counts, Buffer out, const PartCounts& out_counts) override {
    require_parts(in, in_counts, out, out_counts, size());
    return launch("all_to_all_parts", in,
                  [&](cudaStream_t s) { return exchange_parts(in, in_counts, out, out_counts, s); });
  }
  Work send(Buffer b, int to) override {
    return launch("send", b, [&](cudaStream_t s) { return ncclSend(b.data, b.count, type_of(b.dtype), to, comm(), s); });
  }
  Work receive(Buffer b, int from) override {
    return launch("receive", b, [&](cudaStream_t s) { return ncclRecv(b.data, b.count, type_of(b.dtype), from, comm(), s); });
  }
  void barrier() override { host_.barrier(); }
  std::unique_ptr<Communicator> split(int colour, int key) override {
    return std::make_unique<NcclCommunicator>(host_, host_.split(colour, key), device_);
  }
  void abort() override { handle_->abort(); }

 private:
  ncclResult_t exchange_slices(const Buffer& in, const Buffer& out, cudaStream_t stream) {
    const size_t slice = in.count / size(), bytes = slice * size_of(in.dtype);
    check_nccl(ncclGroupStart(), "group");
    for (int peer = 0; peer < size(); ++peer) {
      ncclSend(static_cast<char*>(in.data) + peer * bytes, slice, type_of(in.dtype), peer, comm(), stream);
      ncclRecv(static_cast<char*>(out.data) + peer * bytes, slice, type_of(in.dtype), peer, comm(), stream);
    }
    return ncclGroupEnd();
  }

  ncclResult_t exchange_parts(const Buffer& in, const PartCounts& in_counts, const Buffer& out,
                              const PartCounts& out_counts, cudaStream_t stream) {
    size_t sent = 0, received = 0;  // bytes
    check_nccl(ncclGroupStart(), "group");
    for (int peer = 0; peer < size(); ++peer) {
      char *to = static_cast<char*>(in.data) + sent, *from = static_cast<char*>(out.data) + received;
      if (in_counts[peer] > 0) ncclSend(to, in_counts[peer], type_of(in.dtype), peer, comm(), stream);
      if (out_counts[peer] > 0) ncclRecv(from, out_counts[peer], type_of(in.dtype), peer, comm(), stream);
      sent += in_counts[peer] * size_of(in.dtype);
      received += out_counts[peer] * size_of(in.dtype);
    }
    return ncclGroupEnd();
  }

  template <class Call>
  Work launch(const char* operation, const Buffer& buffer, const Call& call) {
    const auto producer = static_cast<cudaStream_t>(buffer.stream);
    auto work = std::make_shared<NcclWork>(handle_, device_, producer);
    produced_.record(producer);
    check_cuda(cudaStreamWaitEvent(stream_->get(), produced_.get(), 0), "wait for the buffer");
    check_nccl(call(stream_->get()), operation);
    work->finished().record(stream_->get());
    return Work(std::move(work));
  }

  ncclComm_t comm() const { return handle_->get(); }

  std::unique_ptr<Communicator> owned_host_;
  Communicator& host_;
  int device_;
  std::unique_ptr<CudaStream> stream_;
  CudaEvent produced_;
  std::shared_ptr<NcclHandle> handle_ = std::make_shared<NcclHandle>();
};

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(Communicator& host, int device) {
  return std::make_unique<NcclCommunicator>(host, nullptr, device);
}

#else

std::unique_ptr<Communicator> make_nccl_communicator(Communicator&, int) {
  throw Error("this braid was built without CUDA (BRAID_CUDA=OFF)");
}

#endif

}  // namespace braid
