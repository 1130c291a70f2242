// SPDX-License-Identifier: Apache-2.0
#include "parallel/gradient_reducer.h"

#include "base/error.h"
#include "nn/kernel_call.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

Dtype dtype_of(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat: return Dtype::float32;
    case at::kDouble: return Dtype::float64;
    case at::kBFloat16: return Dtype::bfloat16;
    case at::kLong: return Dtype::int64;
    case at::kByte: return Dtype::uint8;
    default: throw Error(str("ranks cannot exchange elements of type ", c10::toString(tensor.scalar_type())));
  }
}

}  // namespace

Buffer buffer_of(const at::Tensor& tensor) {
  if (!tensor.is_contiguous()) throw Error("ranks can only exchange contiguous tensors");
  return {tensor.mutable_data_ptr(), static_cast<size_t>(tensor.numel()), dtype_of(tensor),
          current_stream_of(tensor.device())};
}

GradientReducer::GradientReducer(ParameterSet& parameters, Communicator& comm, BucketSizes sizes)
    : set_(parameters), comm_(comm) {
  if (comm.size() > 1) plan(sizes);
}

GradientReducer::~GradientReducer() {
  for (Parameter& parameter : set_.all()) parameter.on_grad_ready = nullptr;
}

void GradientReducer::plan(BucketSizes sizes) {
  const std::vector<Parameter*> order = set_.in_buffer_order();
  const int64_t element = set_.gradient().element_size(), end = set_.gradient().numel();
  for (size_t i = 0; i < order.size(); ++i) {
    const int64_t limit = buckets_.size() <= 1 ? sizes.first_bytes : sizes.other_bytes;
    if (buckets_.empty() || buckets_.back().count * element >= limit) buckets_.push_back({order[i]->offset, 0, 0, 0});
    Bucket& bucket = buckets_.back();
    const int64_t next = i + 1 < order.size() ? order[i + 1]->offset : end;
    bucket.count = next - bucket.first;
    if (!order[i]->trainable) continue;
    ++bucket.parameters;
    order[i]->on_grad_ready = [this, index = buckets_.size() - 1](Parameter&) { ready(index); };
  }
}

void GradientReducer::arm() {
  armed_ = true;
  next_ = 0;
  works_.clear();
  for (Bucket& bucket : buckets_) bucket.pending = bucket.parameters;
}

void GradientReducer::ready(size_t index) {
  if (!armed_) return;
  --buckets_[index].pending;
  while (next_ < buckets_.size() && buckets_[next_].pending == 0) send_next();
}

void GradientReducer::send_next() {
  const Bucket& bucket = buckets_[next_++];
  works_.push_back(comm_.all_reduce(buffer_of(set_.gradient().narrow(0, bucket.first, bucket.count)), ReduceOp::sum));
}

void GradientReducer::finish() {
  overlapped_ = next_;
  while (next_ < buckets_.size()) send_next();
  for (const Work& work : works_) work.wait();
  works_.clear();
  armed_ = false;
}

}  // namespace braid
