// SPDX-License-Identifier: Apache-2.0
#include "comm/nccl_communicator.h"

#include "base/error.h"

#if BRAID_CUDA
#include <nccl.h>

#include <chrono>
#include <cstring>
#include <thread>

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

// A call under way on the communicator's stream.
class NcclWork final : public Work::State {
 public:
  NcclWork(ncclComm_t comm, cudaStream_t consumer) : comm_(comm), consumer_(consumer) {}
  CudaEvent& finished() { return finished_; }

  void wait() override { check_cuda(cudaStreamWaitEvent(consumer_, finished_.get(), 0), "wait for NCCL"); }
  bool done() override { return cudaEventQuery(finished_.get()) == cudaSuccess; }
  void synchronize() override {
    while (!done()) {
      ncclResult_t state = ncclSuccess;
      ncclCommGetAsyncError(comm_, &state);
      if (state != ncclSuccess && state != ncclInProgress) check_nccl(state, "collective");
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

 private:
  ncclComm_t comm_;
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
    check_nccl(ncclCommInitRank(&comm_, host_.size(), id, host_.rank()), "start");
  }
  ~NcclCommunicator() override {
    // A rank that fails leaves its collectives unfinished: destroying would wait for them.
    if (std::uncaught_exceptions() > 0) return;
    ncclCommDestroy(comm_);
  }

  int rank() const override { return host_.rank(); }
  int size() const override { return host_.size(); }
  const char* backend() const override { return "nccl"; }

  Work all_reduce(Buffer b, ReduceOp op) override {
    return launch("all_reduce", b, [&](cudaStream_t s) {
      return ncclAllReduce(b.data, b.data, b.count, type_of(b.dtype), op_of(op), comm_, s);
    });
  }
  Work all_gather(Buffer in, Buffer out) override {
    return launch("all_gather", in, [&](cudaStream_t s) {
      return ncclAllGather(in.data, out.data, in.count, type_of(in.dtype), comm_, s);
    });
  }
  Work reduce_scatter(Buffer in, Buffer out, ReduceOp op) override {
    return launch("reduce_scatter", in, [&](cudaStream_t s) {
      return ncclReduceScatter(in.data, out.data, out.count, type_of(in.dtype), op_of(op), comm_, s);
    });
  }
  Work broadcast(Buffer b, int root) override {
    return launch("broadcast", b, [&](cudaStream_t s) {
      return ncclBroadcast(b.data, b.data, b.count, type_of(b.dtype), root, comm_, s);
    });
  }
  Work all_to_all(Buffer in, Buffer out) override {
    return launch("all_to_all", in, [&](cudaStream_t s) { return exchange_slices(in, out, s); });
  }
  Work send(Buffer b, int to) override {
    return launch("send", b, [&](cudaStream_t s) { return ncclSend(b.data, b.count, type_of(b.dtype), to, comm_, s); });
  }
  Work receive(Buffer b, int from) override {
    return launch("receive", b, [&](cudaStream_t s) { return ncclRecv(b.data, b.count, type_of(b.dtype), from, comm_, s); });
  }
  void barrier() override { host_.barrier(); }
  std::unique_ptr<Communicator> split(int colour, int key) override {
    return std::make_unique<NcclCommunicator>(host_, host_.split(colour, key), device_);
  }

 private:
  ncclResult_t exchange_slices(const Buffer& in, const Buffer& out, cudaStream_t stream) {
    const size_t slice = in.count / size(), bytes = slice * size_of(in.dtype);
    check_nccl(ncclGroupStart(), "group");
    for (int peer = 0; peer < size(); ++peer) {
      ncclSend(static_cast<char*>(in.data) + peer * bytes, slice, type_of(in.dtype), peer, comm_, stream);
      ncclRecv(static_cast<char*>(out.data) + peer * bytes, slice, type_of(in.dtype), peer, comm_, stream);
    }
    return ncclGroupEnd();
  }

  template <class Call>
  Work launch(const char* operation, const Buffer& buffer, const Call& call) {
    const auto producer = static_cast<cudaStream_t>(buffer.stream);
    auto work = std::make_shared<NcclWork>(comm_, producer);
    produced_.record(producer);
    check_cuda(cudaStreamWaitEvent(stream_->get(), produced_.get(), 0), "wait for the buffer");
    check_nccl(call(stream_->get()), operation);
    work->finished().record(stream_->get());
    return Work(std::move(work));
  }

  std::unique_ptr<Communicator> owned_host_;
  Communicator& host_;
  int device_;
  std::unique_ptr<CudaStream> stream_;
  CudaEvent produced_;
  ncclComm_t comm_ = nullptr;
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
