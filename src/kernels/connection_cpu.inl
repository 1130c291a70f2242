// SPDX-License-Identifier: Apache-2.0
// Included once per instruction set with BRAID_LEVEL defined. Tokens are taken in tiles that stay in the second cache
// while they are written, projected and read: the streams are passed over once in memory. A tile's columns are taken in
// chunks, of which a copy in the computing type is what the projection's products read.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include <new>

#include "kernels/connection_cpu.h"

namespace braid::kernels::BRAID_LEVEL {
namespace {

#include "kernels/cpu_lanes.inl"
#include "kernels/cpu_exponential.inl"
#include "kernels/cpu_product.inl"
#include "kernels/connection_gates.inl"

constexpr int64_t chunk_columns = 128;

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
template <class A>
int64_t whole_vectors(int64_t columns) {
  return (columns + Lanes<A>::count - 1) / Lanes<A>::count * Lanes<A>::count;
}

// Such that X' of a tile, and what else is read of its tokens, fits into the second cache.
BRAID_INLINE int64_t tile_tokens(int64_t numbers) { return numbers <= 2048 ? 64 : numbers <= 4096 ? 32 : 16; }

// What follows from a shape for streams computed in A. Tiles do not depend on the number of threads.
template <int S, class A>
struct Plan {
  int64_t tokens, width, logits;
  int64_t norms, each, padded;  // the logits of one norm, and rounded up to whole vectors
  int64_t tile, chunks;
  const ConnectionShape* shape;
  // A chunk of all streams; a vector more, so that rows do not fall on the same cache lines.
  static constexpr int64_t chunk_row = S * chunk_columns + Lanes<A>::count;

  explicit Plan(const ConnectionShape& of)
      : tokens(of.tokens),
        width(of.width),
        logits(connection_logits(of.mixing, S)),
        norms(connection_norms(of.mixing, S)),
        each(logits / norms),
        padded(whole_vectors<A>(each)),
        tile(tile_tokens(S * of.width)),
        chunks((of.width + chunk_columns - 1) / chunk_columns),
        shape(&of) {}

  int64_t tiles() const { return (tokens + tile - 1) / tile; }
  int64_t columns_of(int64_t chunk) const { return smaller(chunk_columns, width - chunk * chunk_columns); }
  // Of P: as many as there are streams, or one that all share.
  int64_t blocks() const { return S / norms; }
  int64_t block_of(int64_t s) const { return norms == 1 ? s : 0; }
  int64_t norm_of(int64_t s) const { return norms == 1 ? 0 : s; }
  bool is_constrained() const { return shape->mixing != Mixing::unconstrained; }
  int64_t scales() const { return is_constrained() ? 3 : 2; }
  // The scale of a logit: mHC's of read, write or mixing, HC's of read and mixing or of write.
  int64_t part_of(int64_t logit) const {
    if (is_constrained()) return logit < S ? 0 : logit < 2 * S ? 1 : 2;
    return logit % each == 1 ? 1 : 0;
  }
  int64_t sums() const { return 2 * shape->iterations * S; }  // vectors that Sinkhorn keeps
};

// Brings some columns of S rows near, `write` being 1 where they will be overwritten. A tile's columns are read in runs too
// short for the processor to see what comes: in each of a token's rows as many as a chunk has, then the next token's.
template <int S, int write = 0, class T>
BRAID_INLINE void prefetch_columns(const T* X, int64_t D, int64_t columns) {
  constexpr int64_t line = 64 / sizeof(T), into_the_second_cache = 2;
  for (int s = 0; s < S; ++s) {
    for (int64_t d = 0; d < columns; d += line) __builtin_prefetch(X + s * D + d, write, into_the_second_cache);
  }
}

constexpr int most_logits = 80;  // 8 + 8 + 64

#include "kernels/connection_forward.inl"
#include "kernels/connection_backward.inl"
#include "kernels/connection_projection.inl"

// float64, the reference in tests, is compiled at the lowest level alone.
template <class Act>
void with_types(Element element, const Act& act) {
  switch (element) {
    case Element::float32:
      return act.template operator()<float>();
    case Element::bfloat16:
      return act.template operator()<Bf16>();
    case Element::float64:
      if constexpr (vector_bytes == 16) act.template operator()<double>();
  }
}

void forward(const ConnectionShape& shape, Element element, const ConnectionWrite& in, const ConnectionWeights& weights,
             const ConnectionOutputs& out) {
  const bool shared = shape.mixing != Mixing::unconstrained;  // the norm, by all streams
  with_types(element, [&]<class T>() {
    const ForwardArrays<T> arrays(in, out);
    const auto run = [&]<int S>() {
      shared ? forward_tiles<S, 1, T>(shape, weights, arrays) : forward_tiles<S, S, T>(shape, weights, arrays);
    };
    switch (shape.streams) {
      case 2:
        return run.template operator()<2>();
      case 4:
        return run.template operator()<4>();
      default:
        return run.template operator()<8>();
    }
  });
}

void backward(const ConnectionShape& shape, Element element, const ConnectionWrite& in,
              const ConnectionWeights& weights, const ConnectionSaved& saved, const ConnectionOutputGradients& given,
              const ConnectionInputGradients& out) {
  with_types(element, [&]<class T>() {
    const BackwardArrays<T> arrays(in, saved, given, out);
    switch (shape.streams) {
      case 2:
        return backward_all<2, T>(shape, weights, arrays, out);
      case 4:
        return backward_all<4, T>(shape, weights, arrays, out);
      default:
        return backward_all<8, T>(shape, weights, arrays, out);
    }
  });
}

}  // namespace

const ConnectionTable connections = {forward, backward};

}  // namespace braid::kernels::BRAID_LEVEL
