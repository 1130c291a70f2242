// SPDX-License-Identifier: Apache-2.0
#include "parallel/bucket_queue.h"

namespace braid {

BucketQueue::BucketQueue(std::vector<std::vector<Parameter*>> buckets, Send send)
    : buckets_(std::move(buckets)), send_(std::move(send)), pending_(buckets_.size()) {
  for (size_t i = 0; i < buckets_.size(); ++i) {
    std::erase_if(buckets_[i], [](const Parameter* parameter) { return !parameter->trainable; });
    for (Parameter* parameter : buckets_[i]) {
      parameter->on_grad_ready = [this, i](Parameter&) { ready(i); };
    }
  }
}

BucketQueue::~BucketQueue() {
  for (const auto& bucket : buckets_) {
    for (Parameter* parameter : bucket) parameter->on_grad_ready = nullptr;
  }
}

void BucketQueue::start(size_t count) {
  next_ = 0;
  end_ = count;
  for (size_t i = 0; i < buckets_.size(); ++i) pending_[i] = buckets_[i].size();
}

void BucketQueue::ready(size_t bucket) {
  if (bucket >= end_) return;
  --pending_[bucket];
  while (next_ < end_ && pending_[next_] == 0) send_next();
}

void BucketQueue::send_next() { send_(next_++); }

void BucketQueue::flush() {
  early_ = next_;
  while (next_ < end_) send_next();
  end_ = 0;
}

}  // namespace braid
