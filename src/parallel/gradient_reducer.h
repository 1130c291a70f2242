// SPDX-License-Identifier: Apache-2.0
// Sums gradients over ranks in buckets while backward still runs (Li et al., "PyTorch Distributed", VLDB 2020). Buckets
// are runs of the flat gradient buffer, which lies in the order in which backward fills it; a bucket is sent when its
// last parameter is ready, always in the same order on every rank.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/communicator.h"
#include "nn/parameter.h"

namespace braid {

struct BucketSizes {
  int64_t first_bytes = int64_t{1} << 20;   // small, so that sending starts early
  int64_t other_bytes = int64_t{25} << 20;
};

class GradientReducer {
 public:
  GradientReducer(ParameterSet& parameters, Communicator& comm, BucketSizes sizes = {});
  ~GradientReducer();
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;

  // Before the backward pass of the step's last micro-batch: from now on ready parameters count.
  void arm();
  // Sends what is left and waits for all sums. Gradients are then equal on every rank.
  void finish();
  size_t buckets() const { return buckets_.size(); }
  // How many buckets had been sent before finish() in the last step: what overlapped with backward.
  size_t overlapped() const { return overlapped_; }

 private:
  struct Bucket {
    int64_t first = 0, count = 0;  // elements of the flat buffer
    int parameters = 0, pending = 0;
  };
  void plan(BucketSizes sizes);
  void ready(size_t bucket);
  void send_next();

  ParameterSet& set_;
  Communicator& comm_;
  std::vector<Bucket> buckets_;
  std::vector<Work> works_;
  size_t next_ = 0, overlapped_ = 0;
  bool armed_ = false;
};

// A tensor's memory as a communicator takes it. Contiguous tensors only.
Buffer buffer_of(const at::Tensor& tensor);

}  // namespace braid
