// SPDX-License-Identifier: Apache-2.0
// RAII over the CUDA objects that communication needs.
#pragma once

#include <cuda_runtime.h>

#include <string>
#include <utility>

#include "base/error.h"

namespace braid {

inline void check_cuda(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw Error(str("CUDA: ", what, ": ", cudaGetErrorString(status)));
}

class CudaStream {
 public:
  CudaStream() {
    int least = 0, greatest = 0;
    check_cuda(cudaDeviceGetStreamPriorityRange(&least, &greatest), "stream priorities");
    check_cuda(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, greatest), "new stream");
  }
  ~CudaStream() { cudaStreamDestroy(stream_); }
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

class CudaEvent {
 public:
  CudaEvent() { check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "new event"); }
  ~CudaEvent() { cudaEventDestroy(event_); }
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  cudaEvent_t get() const { return event_; }
  void record(cudaStream_t stream) { check_cuda(cudaEventRecord(event_, stream), "record event"); }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace braid
