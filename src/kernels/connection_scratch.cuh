// SPDX-License-Identifier: Apache-2.0
// What the connections' kernels keep between launches, cut from the caller's scratch memory.
#pragma once

#include "kernels/connection_gates.cuh"
#include "kernels/connection_project.cuh"
#include "kernels/connection_weights.cuh"

namespace braid::kernels {

// Hands out neighbouring pieces of memory; without any it counts what would be needed.
class Pieces {
 public:
  explicit Pieces(void* memory = nullptr) : memory_(static_cast<char*>(memory)) {}
  template <class T>
  T* take(int64_t count) {
    char* const piece = memory_ ? memory_ + used_ : nullptr;
    used_ += (count * int64_t(sizeof(T)) + 255) / 256 * 256;
    return reinterpret_cast<T*>(piece);
  }
  int64_t used() const { return used_; }

 private:
  char* memory_;
  int64_t used_ = 0;
};

// The shape that is projected: with a norm for each stream, every stream is a token of one.
inline ConnectionShape projected_shape(const ConnectionShape& shape) {
  ConnectionShape rows = shape;
  rows.tokens *= connection_norms(shape.mixing, shape.streams);
  rows.streams /= connection_norms(shape.mixing, shape.streams);
  return rows;
}

// P in fragments, four words for two of its numbers.
inline int64_t packed_words(const ConnectionShape& shape, int tiles) {
  return shape.streams * shape.width / chunk * 2 * tiles * warp_size;
}

template <class A>
struct ForwardScratch {
  A *sums, *logits;
  Right* packed;

  ForwardScratch(Pieces pieces, const ConnectionShape& shape, int tiles) { take(pieces, shape, tiles); }
  static int64_t bytes(const ConnectionShape& shape, int tiles) {
    Pieces pieces;
    ForwardScratch(pieces).take(pieces, shape, tiles);
    return pieces.used();
  }

 private:
  explicit ForwardScratch(const Pieces&) {}
  void take(Pieces& pieces, const ConnectionShape& shape, int tiles) {
    const ConnectionShape rows = projected_shape(shape);
    sums = pieces.take<A>(slices * (8 * tiles + 1) * rows.tokens);
    logits = pieces.take<A>(shape.tokens * shape.streams * shape.streams);
    packed = pieces.take<Right>(packed_words(rows, tiles));
  }
};

template <class A>
struct BackwardScratch {
  A *d_read, *logits, *d_logits, *d_projected, *along, *of_gates;
  float* of_weights;
  Right* packed;

  BackwardScratch(Pieces pieces, const ConnectionShape& shape, int tiles) { take(pieces, shape, tiles); }
  static int64_t bytes(const ConnectionShape& shape, int tiles) {
    Pieces pieces;
    BackwardScratch(pieces).take(pieces, shape, tiles);
    return pieces.used();
  }

 private:
  explicit BackwardScratch(const Pieces&) {}
  void take(Pieces& pieces, const ConnectionShape& shape, int tiles) {
    const ConnectionShape rows = projected_shape(shape);
    const int64_t M = shape.tokens, S = shape.streams, padded = 8 * tiles;
    d_read = pieces.take<A>(M * S);
    logits = pieces.take<A>(M * S * S);
    d_logits = pieces.take<A>(M * S * S);
    d_projected = pieces.take<A>(rows.tokens * padded);
    along = pieces.take<A>(rows.tokens);
    of_gates = pieces.take<A>((M + gate_threads - 1) / gate_threads * (S / rows.streams * padded + 3));
    of_weights = pieces.take<float>(TokenRanges(rows).count * rows.streams * rows.width * padded);
    packed = pieces.take<Right>(packed_words(rows, tiles));
  }
};

}  // namespace braid::kernels
