// SPDX-License-Identifier: Apache-2.0
// What a call asks of a GPU, recorded once as a CUDA graph and asked again as a whole: hundreds of small kernels start in the
// time of a few. On CPUs it is called again each time, so that what is around it can be tested there.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>

namespace braid {

class RecordedCall {
 public:
  // Calls it once, so that libraries make what they need, and once more to record it. It may read and write memory that lives
  // longer than this, and must ask for the same whatever is in there: no copy to the host, no wait, no other stream. Calls on a
  // device whose results are never in use at the same time share memory.
  RecordedCall(const at::Device& device, std::function<at::Tensor()> call);
  ~RecordedCall();
  RecordedCall(const RecordedCall&) = delete;
  RecordedCall& operator=(const RecordedCall&) = delete;

  // On the current stream; valid until a recorded call on this device is called again.
  at::Tensor operator()();

 private:
  struct Graph;
  void record(const at::Device& device);
  std::function<at::Tensor()> call_;
  std::unique_ptr<Graph> graph_;  // none on CPUs
  at::Tensor result_;
};

}  // namespace braid
