// SPDX-License-Identifier: Apache-2.0
#include "nn/product.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include <optional>

#include "kernels/cpu_level.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

// LibTorch's own name for oneDNN's y = x W^T + b with something fused after it; here nothing is.
using LinearPointwise = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                                   std::string_view, c10::List<std::optional<at::Scalar>>,
                                   std::optional<std::string_view>);

std::optional<c10::TypedOperatorHandle<LinearPointwise>> find_onednn() {
  const auto found = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
  if (!found || kernels::best_cpu_level() != kernels::CpuLevel::avx512 || __builtin_cpu_is("intel")) return std::nullopt;
  return found->typed<LinearPointwise>();
}

bool suits_onednn(const at::Tensor& a, const at::Tensor& b) {
  return a.device().is_cpu() && a.scalar_type() == at::kFloat && a.numel() > 0 && b.numel() > 0;
}

}  // namespace

at::Tensor product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias) {
  static const auto onednn = find_onednn();
  if (onednn && suits_onednn(a, b)) {
    const std::optional<at::Tensor> added = bias.defined() ? std::optional(bias) : std::nullopt;
    return onednn->call(a, b, added, "none", c10::List<std::optional<at::Scalar>>(), std::nullopt);
  }
  return bias.defined() ? at::addmm(bias, a, b.t()) : a.mm(b.t());
}

}  // namespace braid
