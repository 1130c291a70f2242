// SPDX-License-Identifier: Apache-2.0
#include "parallel/sequence_exchange.h"

#include "base/error.h"
#include "nn/precompiled.h"
#include "parallel/gradient_reducer.h"

namespace braid {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// [B, T / N, ...] of each rank to [B, T, ...]: of several samples the shares come one rank behind the other and are sorted.
at::Tensor gathered(const at::Tensor& share, Communicator& comm) {
  const at::Tensor mine = share.contiguous();
  std::vector<int64_t> shape = mine.sizes().vec();
  shape.insert(shape.begin(), comm.size());
  const at::Tensor all = at::empty(shape, mine.options());
  comm.all_gather(buffer_of(mine), buffer_of(all)).wait();
  return all.transpose(0, 1).flatten(1, 2).contiguous();
}

// [B, T, ...] to [N, B, T / N, ...].
at::Tensor by_rank(const at::Tensor& x, int64_t ranks) {
  if (x.size(1) % ranks != 0) throw Error(str(x.size(1), " tokens cannot be shared evenly by ", ranks, " ranks"));
  return x.unflatten(1, {ranks, x.size(1) / ranks}).transpose(0, 1);
}

at::Tensor summed_share(const at::Tensor& term, Communicator& comm) {
  const at::Tensor parts = by_rank(term, comm.size()).contiguous();
  const at::Tensor share = at::empty(parts.sizes().slice(1), parts.options());
  comm.reduce_scatter(buffer_of(parts), buffer_of(share), ReduceOp::sum).wait();
  return share;
}

Communicator* comm_of(AutogradContext* ctx) { return reinterpret_cast<Communicator*>(ctx->saved_data["comm"].toInt()); }

struct GatherTokens : torch::autograd::Function<GatherTokens> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& share, Communicator* comm) {
    ctx->saved_data["comm"] = reinterpret_cast<int64_t>(comm);
    return gathered(share, *comm);
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    return {summed_share(gradients[0], *comm_of(ctx)), at::Tensor()};
  }
};

struct SumTokens : torch::autograd::Function<SumTokens> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& term, Communicator* comm) {
    ctx->saved_data["comm"] = reinterpret_cast<int64_t>(comm);
    return summed_share(term, *comm);
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    return {gathered(gradients[0], *comm_of(ctx)), at::Tensor()};
  }
};

}  // namespace

at::Tensor gather_tokens(const at::Tensor& share, Communicator& comm) { return GatherTokens::apply(share, &comm); }

at::Tensor sum_tokens(const at::Tensor& term, Communicator& comm) { return SumTokens::apply(term, &comm); }

}  // namespace braid
