// SPDX-License-Identifier: Apache-2.0
// Eight kernels a layer, queued one behind the other: norm, queries and keys and values turned, those stored, attention,
// its output's product, norm, gate and up multiplied, and their product.
#include "kernels/add_norm_cuda.h"
#include "kernels/cuda_launch.cuh"
#include "kernels/decode_step_cuda.h"
#include "kernels/row_products_cuda.h"

namespace braid::kernels {

namespace {

constexpr int add_threads = 256;

// x += f, of `count` elements.
template <class T>
__global__ void __launch_bounds__(add_threads) add_kernel(int64_t count, const T* f, float* x) {
  start_next();
  wait_for_earlier();
  const int64_t i = int64_t(blockIdx.x) * add_threads + threadIdx.x;
  if (i < count) x[i] += widen(f[i]);
}

template <class T>
void add_to(Launch launch, int64_t count, const void* f, float* x) {
  const dim3 blocks(unsigned((count + add_threads - 1) / add_threads));
  launch_following<add_kernel<T>>(blocks, add_threads, 0, stream_of(launch), "a residual sum", count, static_cast<const T*>(f), x);
}

// What layers hand on, one behind the other in the scratch memory, each aligned for words of any size.
class Between {
 public:
  Between(Element element, const DecodeShape& s, void* scratch) : memory_(static_cast<std::byte*>(scratch)) {
    const int64_t size = element == Element::bfloat16 ? 2 : 4;
    normal = take(s.rows * s.width * size);
    packed = take(s.rows * (s.heads + 2 * s.key_value_heads) * s.head_width * size);
    attended = take(s.rows * s.heads * s.head_width * size);
    added = take(s.rows * s.width * size);
    gated = take(s.rows * s.mlp_width * size);
    rstd = take(s.rows * int64_t(sizeof(float)));
  }
  int64_t bytes() const { return taken_; }

  void *normal, *packed, *attended, *added, *gated, *rstd;

 private:
  void* take(int64_t bytes) {
    void* const place = memory_ ? memory_ + taken_ : nullptr;
    taken_ += (bytes + 255) / 256 * 256;
    return place;
  }
  std::byte* memory_;
  int64_t taken_ = 0;
};

}  // namespace

void decode_step_cuda(Launch launch, Element element, const DecodeShape& s, const std::vector<DecodeLayer>& layers,
                      const float* cosine, const float* sine, const DecodeAttention& attention, float* x, void* scratch) {
  const Between b(element, s, scratch);
  const auto normalise = [&](const float* weight, const void* added) {
    add_norm_cuda(launch, {s.rows, s.width, s.epsilon}, element, x, added, weight, nullptr, x, b.normal, nullptr, b.rstd);
  };
  const auto product = [&](const DecodeMatrix& w, const void* in) { return RowProduct{w, s.rows, element, in}; };
  for (size_t number = 0; number < layers.size(); ++number) {
    const DecodeLayer& layer = layers[number];
    const auto its = static_cast<int64_t>(number);
    normalise(layer.norm1, number == 0 ? nullptr : b.added);
    turned_product_cuda(launch, product(layer.qkv, b.normal), s.head_width, s.heads + s.key_value_heads, cosine, sine, b.packed);
    if (attention.store) attention.store(its, b.packed, {0, 1});
    attention.attend(its, b.packed, b.attended, {0, 1});
    row_product_cuda(launch, product(layer.out, b.attended), nullptr, b.added);
    normalise(layer.norm2, b.added);
    gated_product_cuda(launch, product(layer.gate_and_up, b.normal), b.gated);
    row_product_cuda(launch, product(layer.down, b.gated), nullptr, b.added);
  }
  const int64_t count = s.rows * s.width;
  if (element == Element::bfloat16) return add_to<__nv_bfloat16>(launch, count, b.added, x);
  add_to<float>(launch, count, b.added, x);
}

int64_t decode_scratch_bytes_cuda(Element element, const DecodeShape& shape) {
  return Between(element, shape, nullptr).bytes();
}

}  // namespace braid::kernels
