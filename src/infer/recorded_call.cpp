// SPDX-License-Identifier: Apache-2.0
#include "infer/recorded_call.h"

#include "base/error.h"
#include "nn/precompiled.h"
#if BRAID_CUDA
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <map>
#include <mutex>
#endif

namespace braid {

#if BRAID_CUDA

struct RecordedCall::Graph {
  at::cuda::CUDAGraph graph;
};

namespace {

// What recordings of one device share.
struct Recording {
  at::cuda::MempoolId_t pool;
  c10::cuda::CUDAStream stream;
};

Recording recording_of(c10::DeviceIndex device) {
  static std::mutex mutex;
  static std::map<c10::DeviceIndex, Recording> all;
  const std::lock_guard lock(mutex);
  const auto found = all.find(device);
  if (found != all.end()) return found->second;
  return all.emplace(device, Recording{at::cuda::graph_pool_handle(), c10::cuda::getStreamFromPool(false, device)}).first->second;
}

}  // namespace

void RecordedCall::record(const at::Device& device) {
  const c10::cuda::CUDAGuard on(device);
  const Recording shared = recording_of(device.index());
  c10::cuda::device_synchronize();  // what the call reads was written on another stream
  const c10::cuda::CUDAStreamGuard beside(shared.stream);
  call_();
  c10::cuda::device_synchronize();
  graph_ = std::make_unique<Graph>();
  graph_->graph.capture_begin(shared.pool, cudaStreamCaptureModeThreadLocal);
  try {
    result_ = call_();
  } catch (...) {
    try {
      graph_->graph.capture_end();
    } catch (const std::exception&) {
      // The first failure is what is to be told.
    }
    graph_.reset();
    throw;
  }
  graph_->graph.capture_end();
}

at::Tensor RecordedCall::operator()() {
  if (!graph_) return call_();
  graph_->graph.replay();
  return result_;
}

#else

struct RecordedCall::Graph {};
void RecordedCall::record(const at::Device&) { throw Error("this braid was built without CUDA (BRAID_CUDA=OFF)"); }
at::Tensor RecordedCall::operator()() { return call_(); }

#endif

RecordedCall::RecordedCall(const at::Device& device, std::function<at::Tensor()> call) : call_(std::move(call)) {
  if (device.is_cuda()) record(device);
}

RecordedCall::~RecordedCall() = default;

}  // namespace braid
