// SPDX-License-Identifier: Apache-2.0
// What quantisation by blocks needs: the largest magnitude of a block, and the code of a number in a dynamic map.
// Included after cpu_lanes.inl.

constexpr float least_absmax = 1e-38f;  // that of a block of zeros, where something is divided by it

BRAID_INLINE FloatLanes magnitude(FloatLanes x) { return (FloatLanes)((WordLanes)x & 0x7fffffffu); }

// The largest magnitude of x [count], NaN if there is one.
BRAID_INLINE float largest(const float* x, int64_t count) {
  FloatLanes most = {};
  for (int64_t i = 0; i < count; i += Lanes<float>::count) {
    const FloatLanes a = magnitude(load(x + i, count - i));
    most = (a > most) | (a != a) ? a : most;
  }
  float result = 0;
  for (int64_t i = 0; i < Lanes<float>::count; ++i) result = most[i] > result || most[i] != most[i] ? most[i] : result;
  return result;
}

BRAID_INLINE uint8_t code_in(const MapTables& map, float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  const uint8_t first = map.first_code[bits >> 16];
  return uint8_t(first + (x > map.border[first]));
}
