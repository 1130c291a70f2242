// SPDX-License-Identifier: Apache-2.0
// Says when buckets of parameters may leave for the other ranks: each once the last of its gradients is there, and always
// one after the other, so that every rank sends in the same order whatever order backward fills them in.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "nn/parameter.h"

namespace braid {

class BucketQueue {
 public:
  using Send = std::function<void(size_t bucket)>;
  // Listens to the trainable ones of the parameters, until it ends; `send` is called within backward.
  BucketQueue(std::vector<std::vector<Parameter*>> buckets, Send send);
  ~BucketQueue();
  BucketQueue(const BucketQueue&) = delete;
  BucketQueue& operator=(const BucketQueue&) = delete;

  // Before a backward pass whose gradients leave: the first `count` buckets wait for theirs.
  void start(size_t count);
  // What has not left does now; buckets rest until the next start().
  void flush();
  size_t size() const { return buckets_.size(); }
  // How many had left before flush() in the last pass: what overlapped with backward.
  size_t early() const { return early_; }

 private:
  void ready(size_t bucket);
  void send_next();

  std::vector<std::vector<Parameter*>> buckets_;  // trainable ones
  Send send_;
  std::vector<size_t> pending_;
  size_t next_ = 0, end_ = 0, early_ = 0;
};

}  // namespace braid
