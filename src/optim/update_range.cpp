// SPDX-License-Identifier: Apache-2.0
#include "optim/update_range.h"

#include "kernels/sums.h"
#include "nn/kernel_call.h"
#include "nn/precompiled.h"

namespace braid {

std::vector<UpdateRange> whole_ranges(ParameterSet& parameters) {
  std::vector<UpdateRange> ranges;
  const std::vector<Parameter*> order = parameters.in_buffer_order();
  for (const GroupRange& group : parameters.groups()) {
    UpdateRange range{group.group, parameters.rate(group.group),
                      parameters.master().narrow(0, group.first, group.count),
                      parameters.gradient().narrow(0, group.first, group.count), {}};
    for (const Parameter* p : order) {
      if (p->group == group.group) range.parts.push_back({p, 0, p->elements(), p->offset - group.first});
    }
    ranges.push_back(std::move(range));
  }
  return ranges;
}

namespace {

// All of a range's gradient where its parts are all wanted, else of one part after the other.
std::vector<at::Tensor> gradients_of(const UpdateRange& range, const ParameterFilter& wanted) {
  std::vector<at::Tensor> gradients;
  for (const ParameterPart& part : range.parts) {
    if (wanted(*part.parameter)) gradients.push_back(range.gradient.narrow(0, part.offset, part.count));
  }
  if (gradients.size() == range.parts.size()) return {range.gradient};
  return gradients;
}

}  // namespace

at::Tensor gradient_squares(const std::vector<UpdateRange>& ranges, const ParameterFilter& wanted) {
  std::vector<at::Tensor> gradients;
  for (const UpdateRange& range : ranges) {
    for (at::Tensor& gradient : gradients_of(range, wanted)) gradients.push_back(std::move(gradient));
  }
  if (!gradients.empty() && gradients.front().is_cuda()) {
    std::vector<at::Tensor> norms;
    for (const at::Tensor& gradient : gradients) {
      norms.push_back(at::linalg_vector_norm(gradient, 2, std::nullopt, false, at::kDouble));
    }
    return at::stack(norms).square_().sum();
  }
  double squares = 0;
  for (const at::Tensor& gradient : gradients) {
    squares += kernels::sum_of_squares(gradient.numel(), element_of(gradient), gradient.const_data_ptr());
  }
  return at::scalar_tensor(squares, at::TensorOptions().dtype(at::kDouble));
}

}  // namespace braid
