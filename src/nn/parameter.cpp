// SPDX-License-Identifier: Apache-2.0
#include "nn/parameter.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "base/large_pages.h"

namespace braid {

at::ScalarType master_type(Precision precision) { return precision == Precision::fp64 ? at::kDouble : at::kFloat; }

at::ScalarType compute_type(Precision precision) {
  return precision == Precision::bf16 ? at::kBFloat16 : master_type(precision);
}

namespace {

int64_t elements_of(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

}  // namespace

int64_t Parameter::elements() const { return elements_of(slice.shape); }

bool Parameter::takes_first_contribution() {
  if (!gradient.defined() && on_grad_wanted) on_grad_wanted(*this);
  return std::exchange(unwritten, false);
}

at::Tensor& Parameter::gradient_slot() {
  if (takes_first_contribution()) gradient.zero_();
  return gradient;
}

void Parameter::gradient_contributed() {
  if (--pending_ == 0 && on_grad_ready) on_grad_ready(*this);
}

void take_values(Parameter& parameter, const at::Tensor& whole) {
  int64_t first = 0;
  for (const Box& box : parameter.boxes()) {
    at::Tensor part = whole;
    for (size_t axis = 0; axis < box.shape.size(); ++axis) part = part.narrow(int64_t(axis), box.origin[axis], box.shape[axis]);
    parameter.master.narrow(0, first, box.shape[0]).copy_(part);
    first += box.shape[0];
  }
}

Parameter& ParameterSet::add(const std::string& name, std::vector<int64_t> shape, int group) {
  Parameter& parameter = parameters_.emplace_back();
  parameter.name = name;
  parameter.slice = {std::vector<int64_t>(shape.size(), 0), shape};
  parameter.shape = std::move(shape);
  parameter.group = group;
  return parameter;
}

std::vector<Parameter*> ParameterSet::in_buffer_order() {
  std::vector<Parameter*> order;
  for (auto it = parameters_.rbegin(); it != parameters_.rend(); ++it) order.push_back(&*it);
  std::stable_sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->group < b->group; });
  return order;
}

namespace {

int64_t aligned(int64_t elements) {
  return (elements + ParameterSet::alignment - 1) / ParameterSet::alignment * ParameterSet::alignment;
}

at::Tensor view_of(const at::Tensor& flat, const Parameter& parameter) {
  return flat.narrow(0, parameter.offset, parameter.elements()).view(parameter.slice.shape);
}

}  // namespace

void ParameterSet::lay_out(Precision precision, const at::Device& device) {
  precision_ = precision;
  int64_t total = 0;
  groups_.clear();
  for (Parameter* parameter : in_buffer_order()) {
    const int64_t count = aligned(parameter->elements());
    if (groups_.empty() || groups_.back().group != parameter->group) groups_.push_back({parameter->group, total, 0});
    groups_.back().count += count;
    parameter->offset = total;
    total += count;
  }
  master_ = gradient_ = at::empty({0}, at::TensorOptions().device(device).dtype(master_type(precision)));
}

void ParameterSet::allocate(Precision precision, const at::Device& device) {
  lay_out(precision, device);
  const int64_t total = groups_.empty() ? 0 : groups_.back().first + groups_.back().count;
  const auto options = at::TensorOptions().device(device);
  master_ = at::zeros({total}, options.dtype(master_type(precision)));
  const bool trains = std::any_of(parameters_.begin(), parameters_.end(), [](const auto& p) { return p.trainable; });
  gradient_ = trains ? at::zeros_like(master_) : at::Tensor();
  const bool own_copy = compute_type(precision) != master_type(precision);
  compute_ = own_copy ? at::zeros({total}, options.dtype(compute_type(precision))) : master_;
  for (Parameter& parameter : parameters_) {
    parameter.master = view_of(master_, parameter);
    if (trains) parameter.gradient = view_of(gradient_, parameter);
    parameter.compute = view_of(compute_, parameter);
  }
}

namespace {

at::Tensor zeros_in_large_pages(at::IntArrayRef shape, const at::TensorOptions& options) {
  at::Tensor zeros = at::empty(shape, options);
  if (zeros.is_cpu()) prefer_large_pages(zeros.mutable_data_ptr(), static_cast<int64_t>(zeros.nbytes()));
  return zeros.zero_();
}

}  // namespace

void ParameterSet::allocate_frozen(Precision precision, const at::Device& device) {
  precision_ = precision;
  const auto options = at::TensorOptions().device(device);
  for (Parameter& parameter : parameters_) {
    const at::IntArrayRef shape = parameter.slice.shape;
    parameter.trainable = false;
    if (!parameter.stored) continue;
    parameter.compute = zeros_in_large_pages(shape, options.dtype(compute_type(precision)));
    parameter.master = shape.size() == 2 || compute_type(precision) == master_type(precision)
                           ? parameter.compute
                           : at::zeros(shape, options.dtype(master_type(precision)));
  }
}

Parameter& ParameterSet::named(const std::string& name) {
  for (Parameter& parameter : parameters_) {
    if (parameter.name == name) return parameter;
  }
  throw Error(str("the model has no parameter named ", name));
}

int64_t ParameterSet::elements() const {
  int64_t total = 0;
  for (const Parameter& parameter : parameters_) total += parameter.elements();
  return total;
}

void ParameterSet::release() {
  for (Parameter& parameter : parameters_) parameter.master = parameter.compute = parameter.gradient = at::Tensor();
  master_ = gradient_ = at::empty({0}, master_.options());
  compute_ = at::Tensor();
}

void ParameterSet::zero_gradients() {
  if (gradient_.defined()) gradient_.zero_();
}

void ParameterSet::start_backward() {
  for (Parameter& parameter : parameters_) parameter.start_backward();
}

void ParameterSet::refresh_compute() {
  if (compute_.defined()) {
    if (!compute_.is_same(master_)) compute_.copy_(master_);
    return;
  }
  for (Parameter& parameter : parameters_) {
    if (parameter.master.defined() && !parameter.compute.is_same(parameter.master)) parameter.compute.copy_(parameter.master);
  }
}

}  // namespace braid
