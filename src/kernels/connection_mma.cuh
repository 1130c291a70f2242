// SPDX-License-Identifier: Apache-2.0
// Products on tensor cores for the connections' skinny matrices, near fp32: each number is split into a high and a low
// part of TF32 (11 bits each), and a b is taken as a_high b_high + a_high b_low + a_low b_high. A bf16 number is its
// own high part. One mma.m16n8k8 multiplies 16 x 8 by 8 x 8; lane l of the warp, with g = l / 4 and t = l % 4, holds
//   of a [16, 8]: (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4)
//   of b [8, 8]:  (t, g), (t + 4, g)
//   of d [16, 8]: (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)
// Which column of memory an index stands for is free as long as both sides agree: the kernels give each lane four
// neighbouring columns, 4t to 4t + 3 of sixteen, as two steps of (4t, 4t + 1) and (4t + 2, 4t + 3).
#pragma once

#include "kernels/connection.h"
#include "kernels/cuda_support.cuh"

namespace braid::kernels {

constexpr int chunk = 16;  // columns that the lanes of a row hold together

// K rounded up to the eights of mma's tiles.
constexpr int tiles_of(int64_t logits) { return int((logits + 7) / 8); }

__device__ __forceinline__ uint32_t to_tf32(float x) {
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}

__device__ __forceinline__ float of_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof(x));
  return x;
}

struct Split {
  uint32_t high, low;
  __device__ explicit Split(float x) : high(to_tf32(x)), low(to_tf32(x - of_bits(high))) {}
};

// Volatile: all lanes of the warp take part, so that it must not move behind a lane's own condition.
__device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// A lane's part of a; `exact` numbers have no low part.
template <bool exact>
struct Left {
  uint32_t high[4], low[4];

  __device__ Left() = default;
  __device__ Left(float a0, float a1, float a2, float a3) {
    const float values[4] = {a0, a1, a2, a3};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (exact) {
        high[i] = __float_as_uint(values[i]);
        low[i] = 0;
      } else {
        const Split split(values[i]);
        high[i] = split.high;
        low[i] = split.low;
      }
    }
  }
};

// A lane's part of b: x and y are the high parts, z and w the low ones.
using Right = uint4;

__device__ __forceinline__ Right right_of(float b0, float b1) {
  const Split first(b0), second(b1);
  return {first.high, second.high, first.low, second.low};
}

template <bool exact>
__device__ __forceinline__ void multiply_add(float (&d)[4], const Left<exact>& a, const Right& b) {
  if (!exact) mma(d, a.low, b.x, b.y);
  mma(d, a.high, b.z, b.w);
  mma(d, a.high, b.x, b.y);
}

constexpr int pack_threads = 256;

// P [E, K] as the right side of X P: of each chunk of sixteen rows two steps of eight, of each step `tiles` of eight
// columns; [E / 16, 2, tiles, 32 lanes].
inline __global__ void __launch_bounds__(pack_threads)
    pack_projection(int64_t rows, int K, int tiles, const float* P, Right* packed) {
  const int64_t i = int64_t(blockIdx.x) * pack_threads + threadIdx.x;
  if (i >= rows / chunk * 2 * tiles * warp_size) return;
  const int lane = int(i % warp_size), g = lane / 4, t = lane % 4;
  const int64_t at = i / warp_size;
  const int column = int(at % tiles) * 8 + g, step = int(at / tiles % 2);
  const int64_t row = at / tiles / 2 * chunk + 4 * t + 2 * step;
  packed[i] = column < K ? right_of(P[row * K + column], P[(row + 1) * K + column]) : right_of(0, 0);
}

// P as the right side of dy P', whose columns are P's rows: of each chunk two tiles of eight, of each tile `steps` of
// eight numbers of K; [E / 16, 2, steps, 32 lanes]. The tiles are laid out so that a lane's numbers of the result are
// of four neighbouring columns.
inline __global__ void __launch_bounds__(pack_threads)
    pack_transposed(int64_t rows, int K, int steps, const float* P, Right* packed) {
  const int64_t i = int64_t(blockIdx.x) * pack_threads + threadIdx.x;
  if (i >= rows / chunk * 2 * steps * warp_size) return;
  const int lane = int(i % warp_size), g = lane / 4, t = lane % 4;
  const int64_t at = i / warp_size;
  const int k = int(at % steps) * 8 + t, tile = int(at / steps % 2);
  const float* const row = P + (at / steps / 2 * chunk + 4 * (g / 2) + 2 * tile + g % 2) * K;
  packed[i] = right_of(k < K ? row[k] : 0, k + 4 < K ? row[k + 4] : 0);
}

}  // namespace braid::kernels
