// SPDX-License-Identifier: Apache-2.0
#include "train/state_tensors.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "nn/precompiled.h"
#include "store/element_convert.h"

namespace braid {

namespace {

constexpr const char* model_prefix = "model/";

h5::Element stored_element(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat: return h5::Element::float32;
    case at::kDouble: return h5::Element::float64;
    case at::kBFloat16: return h5::Element::bfloat16;
    case at::kByte: return h5::Element::uint8;
    default: throw Error(str("checkpoints do not store elements of type ", c10::toString(tensor.scalar_type())));
  }
}

// One number for each block of a parameter is a tensor of its own.
StateTensor describe(const std::string& name, const ParameterPart& part, const at::Tensor& values, int64_t block = 1) {
  const Parameter& parameter = *part.parameter;
  if (block == 1) {
    const TensorBox box{parameter.slice.origin, parameter.slice.shape};
    return {{name, stored_element(values), parameter.shape, box, part.first, part.count}, values};
  }
  const int64_t blocks = (parameter.elements() + block - 1) / block;
  TensorSlice slice = whole_tensor(name, stored_element(values), {blocks});
  slice.first = part.first / block;
  slice.count = values.numel();
  return {slice, values};
}

}  // namespace

std::vector<StateTensor> state_tensors(const std::vector<UpdateRange>& ranges, const Optimizer& optimizer) {
  std::vector<StateTensor> all;
  for (const UpdateRange& range : ranges) {
    for (const ParameterPart& part : range.parts) {
      all.push_back(describe(model_prefix + part.parameter->name, part, range.weights.narrow(0, part.offset, part.count)));
    }
  }
  for (const OptimizerTensor& tensor : optimizer.state()) {
    all.push_back(describe("optim/" + tensor.kind + "/" + tensor.part.parameter->name, tensor.part, tensor.values, tensor.block));
  }
  return all;
}

std::vector<StateTensor> share_of(const std::vector<StateTensor>& tensors, int rank, int ranks) {
  int64_t total = 0, before = 0;
  for (const StateTensor& tensor : tensors) total += tensor.own ? 0 : tensor.slice.count;
  const auto border = [&](int64_t part) { return part == ranks ? total : total / ranks * part; };
  const auto cut = [&](int64_t at, int64_t count) {  // where a border falls in the tensor under way
    if (at >= count) return count;
    return std::max<int64_t>(at, 0) / ParameterSet::alignment * ParameterSet::alignment;
  };
  std::vector<StateTensor> share;
  for (const StateTensor& tensor : tensors) {
    if (tensor.own) {
      share.push_back(tensor);
      continue;
    }
    const int64_t count = tensor.slice.count;
    const int64_t first = cut(border(rank) - before, count), end = cut(border(rank + 1) - before, count);
    before += count;
    if (first >= end) continue;
    StateTensor part{tensor.slice, tensor.values.narrow(0, first, end - first), false};
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

namespace {

// Values of the stored type as values of the wider one that is asked for.
void read_widened(const CheckpointReader& reader, const TensorSlice& target, std::byte* out) {
  TensorSlice stored = target;
  stored.element = reader.element(target.name);
  if (stored.element == target.element || !widens(stored.element, target.element)) return reader.read(target, out);
  std::vector<std::byte> narrow(stored.bytes());
  reader.read(stored, narrow.data());
  convert_elements(stored.element, narrow.data(), target.element, out, static_cast<size_t>(target.count));
}

// Weights without a place would be left out in silence.
void require_places(const CheckpointReader& reader, const std::vector<StateTensor>& tensors) {
  std::set<std::string> places;
  for (const StateTensor& tensor : tensors) places.insert(tensor.slice.name);
  for (const auto& [name, tensor] : reader.manifest().tensors()) {
    if (!name.starts_with(model_prefix) || places.count(name)) continue;
    throw UsageError(str("imported tensor ", name, " [", extent_text(tensor.shape), "] has no place in this model"));
  }
}

}  // namespace

void load_tensors(const CheckpointReader& reader, const std::vector<StateTensor>& tensors) {
  const at::NoGradGuard no_gradient;
  const bool imported = reader.manifest().imported();
  if (imported) require_places(reader, tensors);
  for (const StateTensor& tensor : tensors) {
    at::Tensor values = tensor.values;  // a handle
    if (imported && !tensor.slice.name.starts_with(model_prefix)) {
      values.zero_();
      continue;
    }
    at::Tensor host = values.is_cpu() ? values : at::empty(values.sizes(), values.options().device(at::kCPU));
    auto* out = static_cast<std::byte*>(host.mutable_data_ptr());
    imported ? read_widened(reader, tensor.slice, out) : reader.read(tensor.slice, out);
    if (!values.is_cpu()) values.copy_(host);
  }
}

}  // namespace braid
