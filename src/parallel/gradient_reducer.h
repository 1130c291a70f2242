// SPDX-License-Identifier: Apache-2.0
// Sums gradients over ranks in buckets while backward still runs (Li et al., "PyTorch Distributed", VLDB 2020). Buckets
// are runs of the flat gradient buffer, which lies in the order in which backward fills it; a bucket is sent when its
// last parameter is ready, always in the same order on every rank.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/communicator.h"
#include "parallel/bucket_queue.h"

namespace braid {

struct BucketSizes {
  int64_t first_bytes = int64_t{1} << 20;   // small, so that sending starts early
  int64_t other_bytes = int64_t{25} << 20;
};

class GradientReducer {
 public:
  GradientReducer(ParameterSet& parameters, Communicator& comm, BucketSizes sizes = {});

  // Before the backward pass of the step's last micro-batch: from now on ready parameters count.
  void arm();
  // Sends what is left and waits for all sums. Gradients are then equal on every rank.
  void finish();
  size_t buckets() const { return queue_.size(); }
  // How many buckets had been sent before finish() in the last step: what overlapped with backward.
  size_t overlapped() const { return queue_.early(); }

 private:
  struct Bucket {
    int64_t first = 0, count = 0;  // elements of the flat buffer
    std::vector<Parameter*> parameters;
  };
  static std::vector<Bucket> plan(ParameterSet& set, BucketSizes sizes);
  static std::vector<std::vector<Parameter*>> parameters_of(const std::vector<Bucket>& buckets);
  void send(const Bucket& bucket);

  ParameterSet& set_;
  Communicator& comm_;
  std::vector<Bucket> buckets_;
  BucketQueue queue_;
  std::vector<Work> works_;
};

// A tensor's memory as a communicator takes it. Contiguous tensors only.
Buffer buffer_of(const at::Tensor& tensor);

}  // namespace braid
