// SPDX-License-Identifier: Apache-2.0
#include "train/state_tensors.h"

#include <algorithm>
#include <map>
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

// A number for each element of a part: a tensor for each of the parameter's boxes that it reaches into.
void describe(const std::string& name, const ParameterPart& part, const at::Tensor& values, std::vector<StateTensor>& all) {
  int64_t begin = 0;
  for (const Box& box : part.parameter->boxes()) {
    const int64_t end = begin + elements_of(box.shape);
    const int64_t first = std::max(part.first, begin), last = std::min(part.first + part.count, end);
    if (first < last) {
      const TensorBox place{box.origin, box.shape};
      all.push_back({{name, stored_element(values), part.parameter->shape, place, first - begin, last - first},
                     values.narrow(0, first - part.first, last - first)});
      all.back().parameter = part.parameter;
    }
    begin = end;
  }
}

// One number for each block of a parameter is a tensor of its own.
StateTensor describe_blocks(const std::string& name, const OptimizerTensor& tensor) {
  const int64_t blocks = (tensor.part.parameter->elements() + tensor.block - 1) / tensor.block;
  TensorSlice slice = whole_tensor(name, stored_element(tensor.values), {blocks});
  slice.first = tensor.part.first / tensor.block;
  slice.count = tensor.values.numel();
  StateTensor state{slice, tensor.values};
  state.parameter = tensor.part.parameter;
  return state;
}

}  // namespace

std::vector<StateTensor> state_tensors(const std::vector<UpdateRange>& ranges, const Optimizer& optimizer) {
  std::vector<StateTensor> all;
  for (const UpdateRange& range : ranges) {
    for (const ParameterPart& part : range.parts) {
      describe(model_prefix + part.parameter->name, part, range.weights.narrow(0, part.offset, part.count), all);
    }
  }
  for (const OptimizerTensor& tensor : optimizer.state()) {
    const std::string name = "optim/" + tensor.kind + "/" + tensor.part.parameter->name;
    if (tensor.block == 1) {
      describe(name, tensor.part, tensor.values, all);
    } else {
      all.push_back(describe_blocks(name, tensor));
    }
  }
  return all;
}

namespace {

// The share of one of `ranks` that hold these alike.
void add_share(const std::vector<const StateTensor*>& tensors, int rank, int ranks, std::vector<StateTensor>& share) {
  int64_t total = 0, before = 0;
  for (const StateTensor* tensor : tensors) total += tensor->slice.count;
  const auto border = [&](int64_t part) { return part == ranks ? total : total / ranks * part; };
  const auto cut = [&](int64_t at, int64_t count) {  // where a border falls in the tensor under way
    if (at >= count) return count;
    return std::max<int64_t>(at, 0) / ParameterSet::alignment * ParameterSet::alignment;
  };
  for (const StateTensor* tensor : tensors) {
    const int64_t count = tensor->slice.count;
    const int64_t first = cut(border(rank) - before, count), end = cut(border(rank + 1) - before, count);
    before += count;
    if (first >= end) continue;
    StateTensor part{tensor->slice, tensor->values.narrow(0, first, end - first)};
    part.slice.first += first;
    part.slice.count = end - first;
    share.push_back(std::move(part));
  }
}

}  // namespace

std::vector<StateTensor> share_of(const std::vector<StateTensor>& tensors, int rank, int ranks) {
  std::vector<StateTensor> share;
  std::vector<const StateTensor*> of_all;
  std::map<std::tuple<HolderAxis, int, int>, std::vector<const StateTensor*>> of_some;
  for (const StateTensor& tensor : tensors) {
    if (tensor.own || !tensor.stored) continue;
    (tensor.holders.ranks == 0 ? of_all : of_some[tensor.holders.place()]).push_back(&tensor);
  }
  add_share(of_all, rank, ranks, share);
  for (const auto& [place, some] : of_some) add_share(some, std::get<1>(place), std::get<2>(place), share);
  for (const StateTensor& tensor : tensors) {
    if (tensor.own && tensor.stored) share.push_back(tensor);
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
