// SPDX-License-Identifier: Apache-2.0
#include "parallel/tensor_exchange.h"

#include "nn/precompiled.h"
#include "parallel/gradient_reducer.h"

namespace braid {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

struct SumBackward : torch::autograd::Function<SumBackward> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, Communicator* comm) {
    ctx->saved_data["comm"] = reinterpret_cast<int64_t>(comm);
    return x.detach();
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    auto* comm = reinterpret_cast<Communicator*>(ctx->saved_data["comm"].toInt());
    const at::Tensor sum = gradients[0].clone(at::MemoryFormat::Contiguous);  // others may hold the gradient
    comm->all_reduce(buffer_of(sum), ReduceOp::sum).wait();
    return {sum, at::Tensor()};
  }
};

struct SumForward : torch::autograd::Function<SumForward> {
  static at::Tensor forward(AutogradContext*, const at::Tensor& term, Communicator* comm) {
    const at::Tensor sum = term.contiguous().detach();  // an alias keeps autograd from seeing the reuse
    comm->all_reduce(buffer_of(sum), ReduceOp::sum).wait();
    return sum;
  }

  static variable_list backward(AutogradContext*, variable_list gradients) { return {gradients[0], at::Tensor()}; }
};

}  // namespace

at::Tensor sum_backward(const at::Tensor& x, Communicator& comm) { return SumBackward::apply(x, &comm); }

at::Tensor sum_forward(const at::Tensor& term, Communicator& comm) { return SumForward::apply(term, &comm); }

}  // namespace braid
