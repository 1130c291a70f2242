// SPDX-License-Identifier: Apache-2.0
#include "nn/product.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include <optional>

#include "kernels/cpu_level.h"
#include "kernels/skinny_product.h"
#include "nn/kernel_call.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

// LibTorch's own name for oneDNN's y = x W^T + b with something fused after it; here nothing is.
using LinearPointwise = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                                   std::string_view, c10::List<std::optional<at::Scalar>>,
                                   std::optional<std::string_view>);

struct OneDnn {
  std::optional<c10::TypedOperatorHandle<LinearPointwise>> linear;
  bool takes_fp32 = false, takes_bf16 = false;
};

OneDnn find_onednn() {
  OneDnn onednn;
  const auto found = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
  if (!found) return onednn;
  onednn.linear = found->typed<LinearPointwise>();
  onednn.takes_fp32 = kernels::best_cpu_level() == kernels::CpuLevel::avx512 && !__builtin_cpu_is("intel");
  onednn.takes_bf16 = __builtin_cpu_supports("avx512bf16");
  return onednn;
}

const OneDnn& onednn() {
  static const OneDnn found = find_onednn();
  return found;
}

// PyTorch hands bf16 to oneDNN by itself, but first spreads a bias over the whole result.
bool suits(const OneDnn& onednn, const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias) {
  if (!onednn.linear || !a.device().is_cpu() || a.numel() == 0 || b.numel() == 0) return false;
  if (a.scalar_type() == at::kFloat) return onednn.takes_fp32;
  return a.scalar_type() == at::kBFloat16 && bias.defined() && onednn.takes_bf16;
}

// Few rows of a, as decoding has them, and b where it lies.
bool is_skinny(const at::Tensor& a, const at::Tensor& b) {
  const bool type = a.scalar_type() == at::kFloat || a.scalar_type() == at::kBFloat16;
  if (!type || !(a.is_cpu() || a.is_cuda()) || a.scalar_type() != b.scalar_type() || !b.is_contiguous()) return false;
  const bool tiles = a.is_cpu() && kernels::suits_tiles(element_of(a), a.size(1));
  return a.size(0) <= (tiles ? kernels::most_tiled_tokens : kernels::most_skinny_tokens);
}

at::Tensor skinny_product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias) {
  const at::Tensor x = a.contiguous(), shift = bias.defined() ? bias.contiguous() : bias;
  at::Tensor y = at::empty({a.size(0), b.size(0)}, a.options());
  kernels::skinny_product(launch_for(x), element_of(x), {a.size(0), a.size(1), b.size(0)}, x.const_data_ptr(), b.const_data_ptr(),
                          bias.defined() ? shift.const_data_ptr() : nullptr, y.mutable_data_ptr());
  return y;
}

}  // namespace

at::Tensor product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias) {
  if (is_skinny(a, b)) return skinny_product(a, b, bias);
  if (suits(onednn(), a, b, bias)) {
    const std::optional<at::Tensor> added = bias.defined() ? std::optional(bias) : std::nullopt;
    return onednn().linear->call(a, b, added, "none", c10::List<std::optional<at::Scalar>>(), std::nullopt);
  }
  return bias.defined() ? at::addmm(bias, a, b.t()) : a.mm(b.t());
}

void write_product(at::Tensor y, const at::Tensor& a, const at::Tensor& b) {
  if (is_skinny(a, b) || suits(onednn(), a, b, {})) {
    y.copy_(product(a, b));
  } else {
    at::mm_out(y, a, b.t());
  }
}

void add_product(at::Tensor y, const at::Tensor& a, const at::Tensor& b) {
  if (is_skinny(a, b)) {
    y.add_(skinny_product(a, b, {}));
  } else if (suits(onednn(), a, b, {})) {
    y.add_(product(a, b));
  } else {
    y.addmm_(a, b.t());
  }
}

}  // namespace braid
