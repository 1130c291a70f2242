// SPDX-License-Identifier: Apache-2.0
// What quantisation by blocks needs: the largest magnitude of a block, and the code of a number in a dynamic map.
// Included after cpu_lanes.inl.

constexpr float least_absmax = 1e-38f;  // that of a block of zeros, where something is divided by it

typedef int32_t IntLanes __attribute__((vector_size(vector_bytes)));

// Magnitudes as bits, which order like the numbers, NaN above infinity.
BRAID_INLINE IntLanes magnitude(FloatLanes x) { return (IntLanes)x & 0x7fffffff; }
BRAID_INLINE IntLanes larger(IntLanes a, IntLanes b) { return a > b ? a : b; }

BRAID_INLINE float largest_lane(IntLanes magnitudes) {
#pragma GCC unroll 4
  for (int64_t distance = Lanes<float>::count / 2; distance > 0; distance /= 2) {
    IntLanes from;
    for (int64_t i = 0; i < Lanes<float>::count; ++i) from[i] = int32_t(i ^ distance);
    magnitudes = larger(magnitudes, __builtin_shuffle(magnitudes, from));
  }
  const int32_t bits = magnitudes[0];
  float result;
  __builtin_memcpy(&result, &bits, 4);
  return result;
}

// The largest magnitude of x [count], NaN if there is one.
BRAID_INLINE float largest(const float* x, int64_t count) {
  IntLanes most = {};
  for (int64_t i = 0; i < count; i += Lanes<float>::count) most = larger(most, magnitude(load(x + i, count - i)));
  return largest_lane(most);
}

// A look-up for one number. The compiler would join several into vectors lane by lane, which takes twice as long.
template <class T>
BRAID_INLINE T looked_up(const T* table, int64_t i) {
  __asm__("" : "+r"(i));
  return table[i];
}

BRAID_INLINE uint8_t code_in(const MapTables& map, float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  const uint8_t first = looked_up(map.first_code, bits >> 16);
  return uint8_t(first + (x > map.border[first]));
}
