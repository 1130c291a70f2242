// SPDX-License-Identifier: Apache-2.0
#include "train/state_tensors.h"

#include <algorithm>

#include "base/error.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

h5::Element stored_element(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat: return h5::Element::float32;
    case at::kDouble: return h5::Element::float64;
    case at::kBFloat16: return h5::Element::bfloat16;
    case at::kByte: return h5::Element::uint8;
    default: throw Error(str("checkpoints do not store elements of type ", c10::toString(tensor.scalar_type())));
  }
}

StateTensor describe(const std::string& name, const Parameter& parameter, const at::Tensor& flat) {
  const at::Tensor values = flat.narrow(0, parameter.offset, parameter.elements());
  return {{name, stored_element(values), parameter.shape, {parameter.slice.origin, parameter.slice.shape}, 0, values.numel()},
          values};
}

}  // namespace

std::vector<StateTensor> state_tensors(ParameterSet& parameters, const AdamW& optimizer) {
  std::vector<StateTensor> all;
  const std::vector<Parameter*> order = parameters.in_buffer_order();
  const auto add = [&](const std::string& prefix, const at::Tensor& flat) {
    for (const Parameter* parameter : order) all.push_back(describe(prefix + parameter->name, *parameter, flat));
  };
  add("model/", parameters.master());
  add("optim/exp_avg/", optimizer.first_moment());
  add("optim/exp_avg_sq/", optimizer.second_moment());
  return all;
}

std::vector<StateTensor> share_of(const std::vector<StateTensor>& tensors, int rank, int ranks) {
  int64_t total = 0, before = 0;
  for (const StateTensor& tensor : tensors) total += tensor.slice.count;
  const auto border = [&](int64_t part) { return part == ranks ? total : total / ranks * part; };
  const auto cut = [&](int64_t at, int64_t count) {  // where a border falls in the tensor under way
    if (at >= count) return count;
    return std::max<int64_t>(at, 0) / ParameterSet::alignment * ParameterSet::alignment;
  };
  std::vector<StateTensor> share;
  for (const StateTensor& tensor : tensors) {
    const int64_t count = tensor.slice.count;
    const int64_t first = cut(border(rank) - before, count), end = cut(border(rank + 1) - before, count);
    before += count;
    if (first >= end) continue;
    StateTensor part{tensor.slice, tensor.values.narrow(0, first, end - first)};
    part.slice.first += first;
    part.slice.count = end - first;
    share.push_back(std::move(part));
  }
  return share;
}

int64_t bytes_of(const std::vector<StateTensor>& tensors) {
  int64_t bytes = 0;
  for (const StateTensor& tensor : tensors) bytes += static_cast<int64_t>(tensor.slice.bytes());
  return bytes;
}

void load_tensors(const CheckpointReader& reader, const std::vector<StateTensor>& tensors) {
  const at::NoGradGuard no_gradient;
  for (const StateTensor& tensor : tensors) {
    at::Tensor values = tensor.values;  // a handle
    at::Tensor host = values.is_cpu() ? values : at::empty(values.sizes(), values.options().device(at::kCPU));
    reader.read(tensor.slice, static_cast<std::byte*>(host.mutable_data_ptr()));
    if (!values.is_cpu()) values.copy_(host);
  }
}

}  // namespace braid
