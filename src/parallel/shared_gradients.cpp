// SPDX-License-Identifier: Apache-2.0
#include "parallel/shared_gradients.h"

#include "nn/precompiled.h"
#include "parallel/gradient_reducer.h"

namespace braid {

void sum_gradients(const std::vector<Parameter*>& parameters, Communicator& comm) {
  if (parameters.empty()) return;
  std::vector<at::Tensor> parts;
  for (const Parameter* parameter : parameters) parts.push_back(parameter->gradient.flatten());
  const at::Tensor all = at::cat(parts);
  comm.all_reduce(buffer_of(all), ReduceOp::sum).wait();
  int64_t first = 0;
  for (Parameter* parameter : parameters) {
    parameter->gradient.copy_(all.narrow(0, first, parameter->elements()).view_as(parameter->gradient));
    first += parameter->elements();
  }
}

}  // namespace braid
