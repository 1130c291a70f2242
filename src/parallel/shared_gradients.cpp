// SPDX-License-Identifier: Apache-2.0
#include "parallel/shared_gradients.h"

#include <algorithm>

#include "nn/precompiled.h"
#include "parallel/gradient_reducer.h"

namespace braid {

namespace {

std::vector<at::Tensor> parts_of(const std::vector<UpdateRange>& ranges, const std::vector<Parameter*>& parameters) {
  std::vector<at::Tensor> parts;
  for (const UpdateRange& range : ranges) {
    for (const ParameterPart& part : range.parts) {
      const bool is_wanted = std::find(parameters.begin(), parameters.end(), part.parameter) != parameters.end();
      if (is_wanted) parts.push_back(range.gradient.narrow(0, part.offset, part.count));
    }
  }
  return parts;
}

}  // namespace

void sum_gradients(const std::vector<UpdateRange>& ranges, const std::vector<Parameter*>& parameters, Communicator& comm) {
  const std::vector<at::Tensor> parts = parts_of(ranges, parameters);
  if (parts.empty()) return;
  const at::Tensor all = at::cat(parts);
  comm.all_reduce(buffer_of(all), ReduceOp::sum).wait();
  int64_t first = 0;
  for (const at::Tensor& part : parts) {
    part.copy_(all.narrow(0, first, part.numel()));
    first += part.numel();
  }
}

}  // namespace braid
