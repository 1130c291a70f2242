// SPDX-License-Identifier: Apache-2.0
// Included once per instruction set with BRAID_LEVEL defined.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include <new>

#include "kernels/adamw8bit_cpu.h"

namespace braid::kernels::BRAID_LEVEL {
namespace {

#include "kernels/cpu_lanes.inl"
#include "kernels/cpu_blocks.inl"

BRAID_INLINE FloatLanes root_of(FloatLanes x) {
#if defined(__AVX512F__)
  return (FloatLanes)_mm512_maskz_sqrt_ps(0xffff, (__m512)x);
#elif defined(__AVX2__)
  return (FloatLanes)_mm256_sqrt_ps((__m256)x);
#else
  return (FloatLanes)_mm_sqrt_ps((__m128)x);
#endif
}

// Up to 256 moments in float32; those past `count` stay 0.
struct Block {
  alignas(64) float first[moment_block] = {}, second[moment_block] = {};
};

BRAID_INLINE void decode(const MapTables& map, const uint8_t* codes, float absmax, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = looked_up(map.value, codes[i]) * absmax;
}

// The nearest code of x, or the one below where a negative x would become 0.
BRAID_INLINE uint8_t signed_code(const MapTables& map, float x) {
  const uint8_t code = code_in(map, x);
  return uint8_t(code - ((x < 0) & (map.value[code] >= 0)));
}

void encode(const MapTables& first, const MapTables& second, const Block& block, int64_t count, uint8_t* first_codes,
            uint8_t* second_codes, float* first_absmax, float* second_absmax) {
  *first_absmax = largest(block.first, count);
  *second_absmax = largest(block.second, count);
  const float scale = *first_absmax < least_absmax ? 0.0f : 1.0f / *first_absmax;
  const float second_scale = *second_absmax < least_absmax ? 0.0f : 1.0f / *second_absmax;
  for (int64_t i = 0; i < count; ++i) first_codes[i] = signed_code(first, block.first[i] * scale);
  for (int64_t i = 0; i < count; ++i) second_codes[i] = code_in(second, block.second[i] * second_scale);
}

void update(const AdamWFactors& f, Block& block, int64_t count, float* weights, const float* gradient) {
  for_columns<float>(count, [&](int64_t i, int64_t n) BRAID_LAMBDA {
    const FloatLanes g = load(gradient + i, n) * f.scale;
    const FloatLanes m = load(block.first + i, n) * f.beta1 + g * f.rest1;
    const FloatLanes v = load(block.second + i, n) * f.beta2 + g * g * f.rest2;
    store(weights + i, load(weights + i, n) * f.kept - f.rate * m / (root_of(v) / f.root + f.epsilon), n);
    store(block.first + i, m, n);
    store(block.second + i, v, n);
  });
}

void step(const AdamWFactors& factors, MapTables first, MapTables second, int64_t count, float* weights,
          const float* gradient, Moments8bit moments) {
#pragma omp parallel for schedule(static)
  for (int64_t at = 0; at < count; at += moment_block) {
    const int64_t size = count - at < moment_block ? count - at : moment_block, b = at / moment_block;
    Block block;
    decode(first, moments.first + at, moments.first_absmax[b], size, block.first);
    decode(second, moments.second + at, moments.second_absmax[b], size, block.second);
    update(factors, block, size, weights + at, gradient + at);
    encode(first, second, block, size, moments.first + at, moments.second + at, moments.first_absmax + b,
           moments.second_absmax + b);
  }
}

}  // namespace

const AdamW8bitKernels adamw8bit = {step};

}  // namespace braid::kernels::BRAID_LEVEL
