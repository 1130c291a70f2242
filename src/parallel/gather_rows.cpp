// SPDX-License-Identifier: Apache-2.0
#include "parallel/gather_rows.h"

#include "nn/precompiled.h"
#include "parallel/gradient_reducer.h"

namespace braid {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

std::vector<int64_t> with_first(const at::Tensor& x, int64_t first) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape.front() = first;
  return shape;
}

struct GatherFunction : torch::autograd::Function<GatherFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& given, Communicator* comm) {
    const at::Tensor mine = given.contiguous();
    at::Tensor all = at::empty(with_first(mine, mine.size(0) * comm->size()), mine.options());
    comm->all_gather(buffer_of(mine), buffer_of(all)).wait();
    ctx->saved_data["comm"] = reinterpret_cast<int64_t>(comm);
    return all;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    auto* comm = reinterpret_cast<Communicator*>(ctx->saved_data["comm"].toInt());
    const at::Tensor all = gradients[0].contiguous();
    at::Tensor mine = at::empty(with_first(all, all.size(0) / comm->size()), all.options());
    comm->reduce_scatter(buffer_of(all), buffer_of(mine), ReduceOp::sum).wait();
    return {mine, at::Tensor()};
  }
};

}  // namespace

at::Tensor rows_of_rank(const at::Tensor& rows, int rank, int ranks) {
  const int64_t all = rows.size(0), each = (all + ranks - 1) / ranks;
  const at::Tensor index =
      at::arange(rank * each, (rank + 1) * each, at::TensorOptions(rows.device()).dtype(at::kLong));
  return rows.index_select(0, index.clamp_max(all - 1));
}

at::Tensor gather_rows(const at::Tensor& mine, int64_t rows, Communicator& comm) {
  return GatherFunction::apply(mine, &comm).narrow(0, 0, rows);
}

}  // namespace braid
