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

at::Tensor gradient_squares(const std::vector<UpdateRange>& ranges) {
  if (!ranges.empty() && ranges.front().gradient.is_cuda()) {
    std::vector<at::Tensor> norms;
    for (const UpdateRange& range : ranges) {
      norms.push_back(at::linalg_vector_norm(range.gradient, 2, std::nullopt, false, at::kDouble));
    }
    return at::stack(norms).square_().sum();
  }
  double squares = 0;
  for (const UpdateRange& range : ranges) {
    squares += kernels::sum_of_squares(range.gradient.numel(), element_of(range.gradient), range.gradient.const_data_ptr());
  }
  return at::scalar_tensor(squares, at::TensorOptions().dtype(at::kDouble));
}

}  // namespace braid
