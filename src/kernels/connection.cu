// SPDX-License-Identifier: Apache-2.0
// The connections on GPUs. Each pass over the streams is one kernel that moves all it can while they are in registers:
// forward the write with the projection and the norm (connection_project.cuh), then the read; backward the read's
// coefficients, then all gradients of the streams (connection_gradient.cuh), then the projection's
// (connection_weights.cuh). What is small, a few numbers a token, goes through memory between them. Products run on
// tensor cores near fp32 where the width is a multiple of 16; other widths and float64 take plain kernels. HC projects
// the streams one by one, after a write of its own.
#include <initializer_list>
#include <type_traits>

#include "kernels/connection_cuda.h"
#include "kernels/connection_gates.cuh"
#include "kernels/connection_gradient.cuh"
#include "kernels/connection_hyper.cuh"
#include "kernels/connection_project.cuh"
#include "kernels/connection_scratch.cuh"
#include "kernels/connection_weights.cuh"
#include "kernels/cuda_support.cuh"
#include "kernels/sinkhorn_cuda.h"
#include "kernels/stream_mix_cuda.h"
#include "kernels/stream_mix_reduce.cuh"

namespace braid::kernels {

namespace {

unsigned blocks(int64_t count, int64_t each) { return unsigned((count + each - 1) / each); }

StreamShape streams_of(const ConnectionShape& shape) { return {shape.tokens, shape.streams, shape.width, true}; }

SinkhornShape sinkhorn_of(const ConnectionShape& shape) {
  return {shape.tokens, shape.streams, shape.iterations, SinkhornOrder::column_then_row};
}

template <int S, Mixing mixing, class T>
struct Connection {
  using A = typename Accumulate<T>::Type;
  using L = Logits<S, mixing>;
  static constexpr bool constrained = mixing != Mixing::unconstrained;
  static constexpr int N = constrained ? 1 : S, K = L::count / N, tiles = tiles_of(K), scales = constrained ? 3 : 2;
  static constexpr bool has_products = !std::is_same_v<T, double>;
  static constexpr bool has_gradient = has_products && S <= 4;  // eight streams have more sums than registers
  static constexpr Element coefficients = has_products ? Element::float32 : Element::float64;
  static constexpr Element element = !has_products    ? Element::float64
                                     : sizeof(T) == 2 ? Element::bfloat16
                                                      : Element::float32;

  Launch launch;
  ConnectionShape shape;
  cudaStream_t stream = stream_of(launch);

  int64_t rows() const { return S / N * shape.width; }  // of P
  bool fits(std::initializer_list<const void*> arrays) const {
    bool all = shape.width % chunk == 0;
    for (const void* array : arrays) all = all && is_aligned(array, 4 * sizeof(T));
    return all;
  }

  void forward(const ConnectionWrite& in, const ConnectionWeights& weights, const ConnectionOutputs& out,
               void* memory) const {
    const ForwardScratch<A> scratch(Pieces(memory), shape, tiles);
    const void* const X = in.f ? out.X : in.X;
    const int sum_slices = project(in, weights, out, scratch);
    const GateArrays<A> gates{scratch.sums,
                              static_cast<const A*>(weights.scale),
                              static_cast<const A*>(weights.bias),
                              sum_slices,
                              static_cast<A*>(out.projected),
                              static_cast<A*>(out.rstd),
                              static_cast<A*>(out.read),
                              static_cast<A*>(out.write),
                              static_cast<A*>(out.mix),
                              scratch.logits};
    const unsigned grid = blocks(shape.tokens * N, gate_threads);
    if constexpr (constrained)
      gate_kernel<S, mixing, A><<<grid, gate_threads, 0, stream>>>(shape, gates);
    else
      hyper_gate_kernel<S, A><<<grid, gate_threads, 0, stream>>>(shape, gates);
    if (mixing == Mixing::sinkhorn) sinkhorn_cuda(launch, sinkhorn_of(shape), coefficients, scratch.logits, out.mix);
    stream_read_cuda(launch, streams_of(shape), element, X, out.read, out.m);
  }

  // Writes, where there is something, and projects; how many slices the sums have.
  int project(const ConnectionWrite& in, const ConnectionWeights& weights, const ConnectionOutputs& out,
              const ForwardScratch<A>& scratch) const {
    const bool products = has_products && fits({in.X, in.f, out.X});
    const bool with_write = products && in.f && S <= 4 && constrained;
    if (in.f && !with_write) {
      stream_write_read_cuda(launch, streams_of(shape), element, in.X, in.mix, in.write, in.f, nullptr, out.X, nullptr);
    }
    const T* const X = static_cast<const T*>(in.f && !with_write ? out.X : in.X);
    if constexpr (has_products) {
      if (products) {
        project_on_tensor_cores(X, in, static_cast<const float*>(weights.projection), out, with_write, scratch);
        return slices;
      }
    }
    const ConnectionShape rows = projected_shape(shape);
    project_plain_kernel<T, A><<<unsigned(rows.tokens), plain_threads, 0, stream>>>(
        rows, K, 8 * tiles + 1, X, static_cast<const A*>(weights.projection), scratch.sums);
    return 1;
  }

  void project_on_tensor_cores(const T* X, const ConnectionWrite& in, const float* P, const ConnectionOutputs& out,
                               bool with_write, const ForwardScratch<A>& scratch) const {
    const ConnectionShape projected = projected_shape(shape);
    pack_projection<<<blocks(packed_words(projected, tiles), pack_threads), pack_threads, 0, stream>>>(
        rows(), K, tiles, P, scratch.packed);
    const ProjectArrays<T> arrays{X,
                                  static_cast<const T*>(in.f),
                                  static_cast<const float*>(in.mix),
                                  static_cast<const float*>(in.write),
                                  scratch.packed,
                                  static_cast<T*>(out.X),
                                  scratch.sums};
    const dim3 grid(blocks(projected.tokens, 16 * token_warps), slices);
    if constexpr (S <= 4 && constrained) {
      if (with_write) {
        project_kernel<S, tiles, true, T><<<grid, project_threads, 0, stream>>>(shape, arrays);
        return;
      }
    }
    project_kernel<S / N, tiles, false, T><<<grid, project_threads, 0, stream>>>(projected, arrays);
  }

  void backward(const ConnectionWrite& in, const ConnectionWeights& weights, const ConnectionSaved& saved,
                const ConnectionOutputGradients& given, const ConnectionInputGradients& out, void* memory) const {
    const BackwardScratch<A> scratch(Pieces(memory), shape, tiles);
    check_cuda(cudaMemsetAsync(scratch.d_read, 0, size_t(shape.tokens * S) * sizeof(A), stream), "connections");
    stream_read_backward_cuda(launch, streams_of(shape), element, saved.X, saved.read, given.m, nullptr, false,
                              scratch.d_read);
    gates_backward(weights, saved, given, out, scratch);
    streams_backward(in, weights, saved, given, out, scratch);
    if (out.projection) weights_backward(saved, out, scratch);
  }

  void gates_backward(const ConnectionWeights& weights, const ConnectionSaved& saved,
                      const ConnectionOutputGradients& given, const ConnectionInputGradients& out,
                      const BackwardScratch<A>& scratch) const {
    const A *const y = static_cast<const A*>(saved.projected), *const scale = static_cast<const A*>(weights.scale),
                   *const bias = static_cast<const A*>(weights.bias);
    const unsigned grid = blocks(shape.tokens, gate_threads);
    if constexpr (mixing == Mixing::sinkhorn) {
      logits_kernel<S, A><<<grid, gate_threads, 0, stream>>>(shape.tokens, y, scale, bias, scratch.logits);
      sinkhorn_backward_cuda(launch, sinkhorn_of(shape), coefficients, scratch.logits, given.mix, scratch.d_logits);
    }
    const GateGradientArrays<A> arrays{y,
                                       static_cast<const A*>(saved.rstd),
                                       scale,
                                       bias,
                                       static_cast<const A*>(saved.read),
                                       static_cast<const A*>(saved.write),
                                       scratch.d_read,
                                       static_cast<const A*>(given.write),
                                       mixing == Mixing::sinkhorn ? scratch.d_logits : static_cast<const A*>(given.mix),
                                       scratch.d_projected,
                                       scratch.along,
                                       scratch.of_gates};
    if constexpr (constrained)
      gate_backward_kernel<S, mixing, A><<<grid, gate_threads, 0, stream>>>(shape, arrays);
    else
      hyper_gate_backward_kernel<S, A><<<grid, gate_threads, 0, stream>>>(shape, arrays);
    if (!out.projection) return;
    using Sums = GateWeightGradients<L::count, scales, A>;
    const Sums sums{static_cast<A*>(out.bias), static_cast<A*>(out.scale)};
    add_partials<A, Sums><<<sums.count, add_threads, 0, stream>>>(int(grid), scratch.of_gates, sums);
  }

  void streams_backward(const ConnectionWrite& in, const ConnectionWeights& weights, const ConnectionSaved& saved,
                        const ConnectionOutputGradients& given, const ConnectionInputGradients& out,
                        const BackwardScratch<A>& scratch) const {
    const A* const P = static_cast<const A*>(weights.projection);
    const GradientArrays<T, A> arrays{static_cast<const T*>(in.X),
                                      static_cast<const T*>(in.f),
                                      static_cast<const T*>(saved.X),
                                      static_cast<const T*>(given.X),
                                      static_cast<const T*>(given.m),
                                      in.f ? static_cast<const A*>(in.mix) : nullptr,
                                      in.f ? static_cast<const A*>(in.write) : nullptr,
                                      static_cast<const A*>(saved.read),
                                      scratch.d_projected,
                                      scratch.along,
                                      P,
                                      scratch.packed,
                                      static_cast<T*>(out.X),
                                      static_cast<T*>(out.f),
                                      static_cast<A*>(out.mix),
                                      static_cast<A*>(out.write)};
    if constexpr (has_gradient) {
      if (fits({in.f ? in.X : nullptr, in.f, saved.X, given.X, given.m, out.X, in.f ? out.f : nullptr})) {
        pack_transposed<<<blocks(packed_words(projected_shape(shape), tiles), pack_threads), pack_threads, 0, stream>>>(
            rows(), K, tiles, P, scratch.packed);
        const auto kernel = in.f ? gradient_kernel<S, N, tiles, true, T> : gradient_kernel<S, N, tiles, false, T>;
        kernel<<<blocks(shape.tokens, 16), gradient_threads, 0, stream>>>(shape, arrays);
        return;
      }
    }
    gradient_plain_kernel<S, N, T, A>
        <<<unsigned(shape.tokens), plain_gradient_threads, 0, stream>>>(shape, K, 8 * tiles, arrays);
  }

  void weights_backward(const ConnectionSaved& saved, const ConnectionInputGradients& out,
                        const BackwardScratch<A>& scratch) const {
    const T* const X = static_cast<const T*>(saved.X);
    A* const dP = static_cast<A*>(out.projection);
    const ConnectionShape projected = projected_shape(shape);
    const unsigned entries = blocks(rows() * K, add_weight_threads);
    if constexpr (has_products) {
      if (fits({X}) && rows() % weight_columns == 0) {
        const TokenRanges ranges(projected);
        const dim3 grid(blocks(rows(), weight_columns), unsigned(ranges.count));
        weight_kernel<tiles, T><<<grid, weight_threads, 0, stream>>>(projected.tokens, rows(), K, ranges.each, X,
                                                                     scratch.d_projected, scratch.of_weights);
        add_weights_kernel<<<entries, add_weight_threads, 0, stream>>>(rows() * K, ranges.count, scratch.of_weights,
                                                                       dP);
        return;
      }
    }
    weight_plain_kernel<T, A><<<entries, add_weight_threads, 0, stream>>>(projected.tokens, rows(), K, 8 * tiles, X,
                                                                          scratch.d_projected, dP);
  }
};

template <Mixing mixing, class T, class Act>
void with_streams(Launch launch, const ConnectionShape& shape, const Act& act) {
  if (shape.streams == 2) return act(Connection<2, mixing, T>{launch, shape});
  if (shape.streams == 4) return act(Connection<4, mixing, T>{launch, shape});
  if constexpr (mixing != Mixing::permutations) act(Connection<8, mixing, T>{launch, shape});
}

template <class T, class Act>
void with_mixing(Launch launch, const ConnectionShape& shape, const Act& act) {
  switch (shape.mixing) {
    case Mixing::sinkhorn:
      return with_streams<Mixing::sinkhorn, T>(launch, shape, act);
    case Mixing::permutations:
      return with_streams<Mixing::permutations, T>(launch, shape, act);
    case Mixing::unconstrained:
      return with_streams<Mixing::unconstrained, T>(launch, shape, act);
  }
}

template <class Act>
void with_types(Launch launch, const ConnectionShape& shape, Element element, const Act& act) {
  if (shape.tokens == 0 || shape.width == 0) return;
  switch (element) {
    case Element::float32:
      with_mixing<float>(launch, shape, act);
      break;
    case Element::bfloat16:
      with_mixing<__nv_bfloat16>(launch, shape, act);
      break;
    case Element::float64:
      with_mixing<double>(launch, shape, act);
      break;
  }
  check_cuda(cudaGetLastError(), "connections");
}

template <class A>
int64_t scratch_bytes(const ConnectionShape& shape) {
  const int tiles =
      tiles_of(connection_logits(shape.mixing, shape.streams) / connection_norms(shape.mixing, shape.streams));
  const int64_t forward = ForwardScratch<A>::bytes(shape, tiles), backward = BackwardScratch<A>::bytes(shape, tiles);
  return forward > backward ? forward : backward;
}

}  // namespace

int64_t connection_scratch_bytes_cuda(const ConnectionShape& shape, Element element) {
  return element == Element::float64 ? scratch_bytes<double>(shape) : scratch_bytes<float>(shape);
}

void connection_cuda(Launch launch, const ConnectionShape& shape, Element element, const ConnectionWrite& in,
                     const ConnectionWeights& weights, const ConnectionOutputs& out, void* scratch) {
  with_types(launch, shape, element, [&](auto connection) { connection.forward(in, weights, out, scratch); });
}

void connection_backward_cuda(Launch launch, const ConnectionShape& shape, Element element, const ConnectionWrite& in,
                              const ConnectionWeights& weights, const ConnectionSaved& saved,
                              const ConnectionOutputGradients& given, const ConnectionInputGradients& out,
                              void* scratch) {
  with_types(launch, shape, element,
             [&](auto connection) { connection.backward(in, weights, saved, given, out, scratch); });
}

}  // namespace braid::kernels
