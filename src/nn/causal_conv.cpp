// SPDX-License-Identifier: Apache-2.0
#include "nn/causal_conv.h"

#include <algorithm>

#include "nn/precompiled.h"

namespace braid {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// x[t - back] for the last `tokens` positions, zero where that is before the first or of another text.
at::Tensor delayed(const at::Tensor& x, int64_t back, const at::Tensor& reach) {
  const int64_t tokens = reach.size(1), past = x.size(1) - tokens;
  const int64_t first = std::max<int64_t>(past - back, 0), missing = std::max<int64_t>(back - past, 0);
  const at::Tensor known = x.slice(1, first, std::max(x.size(1) - back, first));
  const at::Tensor earlier = at::constant_pad_nd(known, {0, 0, missing, 0}).narrow(1, 0, tokens);
  return earlier * (reach >= back).unsqueeze(-1);
}

// The transposed operation, of dy [B, T, D] that goes to inputs without a past.
at::Tensor advanced(const at::Tensor& dy, int64_t back, const at::Tensor& reach) {
  const int64_t tokens = dy.size(1);
  const at::Tensor later = (dy * (reach >= back).unsqueeze(-1)).slice(1, std::min(back, tokens));
  return at::constant_pad_nd(later, {0, 0, 0, std::min(back, tokens)});
}

struct CausalConvFunction : torch::autograd::Function<CausalConvFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& reach, Parameter* weight,
                            int64_t dilation) {
    ctx->save_for_backward({x, reach});
    ctx->saved_data["weight"] = reinterpret_cast<int64_t>(weight);
    ctx->saved_data["dilation"] = dilation;
    const int64_t taps = weight->shape[1];
    at::Tensor y = delayed(x, 0, reach) * weight->master.select(1, taps - 1);
    for (int64_t j = 0; j + 1 < taps; ++j)
      y.addcmul_(delayed(x, (taps - 1 - j) * dilation, reach), weight->master.select(1, j));
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    auto& weight = *reinterpret_cast<Parameter*>(ctx->saved_data["weight"].toInt());
    const int64_t dilation = ctx->saved_data["dilation"].toInt(), taps = weight.shape[1];
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &reach = saved[1], &dy = gradients[0];
    at::Tensor dx = at::zeros_like(x);
    for (int64_t j = 0; j < taps; ++j) {
      const int64_t back = (taps - 1 - j) * dilation;
      dx.add_(advanced(dy * weight.master.select(1, j), back, reach));
      if (weight.trainable)
        weight.gradient_slot().select(1, j).add_((dy * delayed(x, back, reach)).sum(at::IntArrayRef{0, 1}));
    }
    if (weight.trainable) weight.gradient_contributed();
    return {dx, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor causal_conv(const at::Tensor& x, Parameter& weight, int64_t dilation, const at::Tensor& reach) {
  return CausalConvFunction::apply(x, reach, &weight, dilation);
}

}  // namespace braid
