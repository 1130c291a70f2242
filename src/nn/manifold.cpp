// SPDX-License-Identifier: Apache-2.0
#include "nn/manifold.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/sinkhorn.h"
#include "nn/kernel_call.h"
#include "nn/precompiled.h"

namespace braid {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

kernels::SinkhornShape shape_of(const at::Tensor& logits, int64_t iterations) {
  return {logits.size(0), logits.size(1), iterations, kernels::SinkhornOrder::column_then_row};
}

struct SinkhornFunction : torch::autograd::Function<SinkhornFunction> {
  // What is taken from a column is divided out by its first normalisation: without it exp would overflow above 88.
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& given, int64_t iterations) {
    const at::Tensor logits = (given - given.amax(-2, true)).contiguous();
    at::Tensor H = at::empty_like(logits);
    kernels::sinkhorn(launch_for(logits), shape_of(logits, iterations), element_of(logits), logits.const_data_ptr(),
                      H.mutable_data_ptr());
    ctx->save_for_backward({logits});
    ctx->saved_data["iterations"] = iterations;
    return H;
  }

  static variable_list backward(AutogradContext* ctx, variable_list outputs) {
    const at::Tensor logits = ctx->get_saved_variables()[0], dH = outputs[0].contiguous();
    at::Tensor dlogits = at::empty_like(logits);
    kernels::sinkhorn_backward(launch_for(logits), shape_of(logits, ctx->saved_data["iterations"].toInt()),
                               element_of(logits), logits.const_data_ptr(), dH.const_data_ptr(),
                               dlogits.mutable_data_ptr());
    return {dlogits, at::Tensor()};
  }
};

// [S!, S * S]
at::Tensor permutation_matrices(int64_t streams, const at::TensorOptions& options) {
  std::vector<int64_t> p(static_cast<size_t>(streams)), ones;
  std::iota(p.begin(), p.end(), 0);
  do {
    ones.insert(ones.end(), p.begin(), p.end());
  } while (std::next_permutation(p.begin(), p.end()));
  const at::Tensor columns = at::tensor(ones).view({-1, streams}).to(options.device());
  return at::one_hot(columns, streams).to(options.dtype()).view({-1, streams * streams});
}

}  // namespace

at::Tensor doubly_stochastic(const at::Tensor& logits, int64_t iterations) {
  return SinkhornFunction::apply(logits, iterations);
}

at::Tensor mix_of_permutations(const at::Tensor& logits, int64_t streams) {
  const at::Tensor weights = at::softmax(logits, -1);
  return at::matmul(weights, permutation_matrices(streams, logits.options())).view({-1, streams, streams});
}

int64_t permutations_of(int64_t streams) { return streams <= 1 ? 1 : streams * permutations_of(streams - 1); }

}  // namespace braid
