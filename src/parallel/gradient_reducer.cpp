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
    : set_(parameters),
      comm_(comm),
      buckets_(comm.size() > 1 ? plan(parameters, sizes) : std::vector<Bucket>()),
      queue_(parameters_of(buckets_), [this](size_t bucket) { send(buckets_[bucket]); }) {}

std::vector<GradientReducer::Bucket> GradientReducer::plan(ParameterSet& set, BucketSizes sizes) {
  std::vector<Bucket> buckets;
  const std::vector<Parameter*> order = set.in_buffer_order();
  const int64_t element = set.gradient().element_size(), end = set.gradient().numel();
  for (size_t i = 0; i < order.size(); ++i) {
    const int64_t limit = buckets.size() <= 1 ? sizes.first_bytes : sizes.other_bytes;
    if (buckets.empty() || buckets.back().count * element >= limit) buckets.push_back({order[i]->offset, 0, {}});
    Bucket& bucket = buckets.back();
    const int64_t next = i + 1 < order.size() ? order[i + 1]->offset : end;
    bucket.count = next - bucket.first;
    bucket.parameters.push_back(order[i]);
  }
  return buckets;
}

std::vector<std::vector<Parameter*>> GradientReducer::parameters_of(const std::vector<Bucket>& buckets) {
  std::vector<std::vector<Parameter*>> all;
  for (const Bucket& bucket : buckets) all.push_back(bucket.parameters);
  return all;
}

void GradientReducer::arm() { queue_.start(queue_.size()); }

void GradientReducer::send(const Bucket& bucket) {
  works_.push_back(comm_.all_reduce(buffer_of(set_.gradient().narrow(0, bucket.first, bucket.count)), ReduceOp::sum));
}

void GradientReducer::finish() {
  queue_.flush();
  for (const Work& work : works_) work.wait();
  works_.clear();
}

}  // namespace braid
