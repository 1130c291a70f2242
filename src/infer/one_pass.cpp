// SPDX-License-Identifier: Apache-2.0
#include "infer/one_pass.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "kernels/decode_parts.h"
#include "nn/attention_parts.h"
#include "nn/kernel_call.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

constexpr int64_t elements_of_a_thread = 16384;  // fewer are not worth another one

bool suits(const at::Tensor& x) {
  return x.device().is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

// body(first, end) for rows of so many elements.
template <class Body>
void for_rows(int64_t rows, int64_t elements, const Body& body) {
  at::parallel_for(0, rows, std::max<int64_t>(elements_of_a_thread / elements, 1), body);
}

// [B or 1, 1, T, d] for each row of [B, T].
at::Tensor rows_of(const at::Tensor& table, const at::Tensor& packed) {
  return table.expand({packed.size(0), 1, packed.size(1), packed.size(3)}).contiguous();
}

// The first `turned` heads of packed [B, T, heads, d], in place.
void turn(at::Tensor& packed, int64_t turned, const RotaryTable& table) {
  const at::Tensor cosine = rows_of(table.cosine, packed), sine = rows_of(table.sine, packed);
  const kernels::Element element = element_of(packed);
  const int64_t width = packed.size(3), stride = packed.size(2) * width;
  const float *const cosines = cosine.const_data_ptr<float>(), *const sines = sine.const_data_ptr<float>();
  auto* const heads = static_cast<std::byte*>(packed.mutable_data_ptr());
  for_rows(packed.size(0) * packed.size(1), turned * width, [&](int64_t first, int64_t end) {
    kernels::turn_heads(element, {end - first, turned, width, stride}, cosines + first * width, sines + first * width,
                        heads + first * stride * packed.element_size());
  });
}

// inner [N, 2 F], gates beside what they let through, to [N, F].
at::Tensor gated(const at::Tensor& inner) {
  const int64_t rows = inner.size(0), width = inner.size(1) / 2, bytes = width * inner.element_size();
  at::Tensor out = at::empty({rows, width}, inner.options());
  const kernels::Element element = element_of(inner);
  const auto* const from = static_cast<const std::byte*>(inner.const_data_ptr());
  auto* const to = static_cast<std::byte*>(out.mutable_data_ptr());
  for_rows(rows, width, [&](int64_t first, int64_t end) {
    for (int64_t r = first; r < end; ++r) {
      kernels::gate(element, width, from + 2 * r * bytes, from + (2 * r + 1) * bytes, to + r * bytes);
    }
  });
  return out;
}

}  // namespace

at::Tensor project_heads_once(const at::Tensor& x, const Attention& layer, const AttentionContext& context) {
  if (!suits(x) || !context.rotary) return project_heads(x, layer, context);
  const int64_t heads = layer.heads + 2 * layer.kv_heads;
  at::Tensor packed = linear(x, layer.qkv).contiguous().view({x.size(0), x.size(1), heads, layer.head_width});
  turn(packed, layer.heads + layer.kv_heads, *context.rotary);
  return packed;
}

at::Tensor feed_forward_once(const at::Tensor& x, const Mlp& layer) {
  if (!suits(x) || !layer.gated) return feed_forward(x, layer);
  const at::Tensor inner = linear(x, layer.in).contiguous();
  const at::Tensor rows = gated(inner.flatten(0, -2));
  std::vector<int64_t> sizes = inner.sizes().vec();
  sizes.back() /= 2;
  return linear(rows.view(sizes), layer.out);
}

}  // namespace braid
