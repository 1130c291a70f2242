// SPDX-License-Identifier: Apache-2.0
#include "parallel/shared_gradients.h"

#include "nn/precompiled.h"
#include "parallel/gradient_reducer.h"

namespace braid {

void sum_gradients(const std::vector<at::Tensor>& gradients, Communicator& comm) {
  if (gradients.empty()) return;
  std::vector<at::Tensor> parts;
  for (const at::Tensor& gradient : gradients) parts.push_back(gradient.flatten());
  const at::Tensor all = at::cat(parts);
  comm.all_reduce(buffer_of(all), ReduceOp::sum).wait();
  int64_t first = 0;
  for (const at::Tensor& gradient : gradients) {
    gradient.copy_(all.narrow(0, first, gradient.numel()).view_as(gradient));
    first += gradient.numel();
  }
}

void sum_gradients(const std::vector<Parameter*>& parameters, Communicator& comm) {
  std::vector<at::Tensor> gradients;
  for (const Parameter* parameter : parameters) gradients.push_back(parameter->gradient);
  sum_gradients(gradients, comm);
}

}  // namespace braid
