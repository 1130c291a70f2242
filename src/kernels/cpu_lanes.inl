// SPDX-License-Identifier: Apache-2.0
// 64-byte vectors in GCC's portable notation: the compiler lowers them to whatever instruction set the including file is
// compiled for. Included inside that file's own namespace, so that no two instruction sets share a symbol.

struct Bf16 {
  uint16_t bits;
};

template <class T>
struct Lanes;  // what a stored T is computed in

template <>
struct Lanes<float> {
  using Scalar = float;
  typedef float Vector __attribute__((vector_size(64)));
  static constexpr int64_t count = 16;
};
template <>
struct Lanes<double> {
  using Scalar = double;
  typedef double Vector __attribute__((vector_size(64)));
  static constexpr int64_t count = 8;
};
template <>
struct Lanes<Bf16> : Lanes<float> {};

typedef uint16_t Half16 __attribute__((vector_size(32)));
typedef uint32_t Word16 __attribute__((vector_size(64)));
typedef int32_t Int16 __attribute__((vector_size(64)));
typedef float Float16 __attribute__((vector_size(64)));

#define BRAID_INLINE inline __attribute__((always_inline))

// n elements, the rest zero.
BRAID_INLINE Float16 load(const float* p, int64_t n) {
  Float16 v = {};
  if (n >= 16) std::memcpy(&v, p, 64);
  else std::memcpy(&v, p, size_t(n) * 4);
  return v;
}
BRAID_INLINE Lanes<double>::Vector load(const double* p, int64_t n) {
  Lanes<double>::Vector v = {};
  if (n >= 8) std::memcpy(&v, p, 64);
  else std::memcpy(&v, p, size_t(n) * 8);
  return v;
}
BRAID_INLINE Float16 load(const Bf16* p, int64_t n) {
  Half16 h = {};
  if (n >= 16) std::memcpy(&h, p, 32);
  else std::memcpy(&h, p, size_t(n) * 2);
  return (Float16)(__builtin_convertvector(h, Word16) << 16);
}

BRAID_INLINE void store(float* p, Float16 v, int64_t n) { std::memcpy(p, &v, n >= 16 ? 64 : size_t(n) * 4); }
BRAID_INLINE void store(double* p, Lanes<double>::Vector v, int64_t n) { std::memcpy(p, &v, n >= 8 ? 64 : size_t(n) * 8); }
// Round to nearest even; NaN stays NaN.
BRAID_INLINE void store(Bf16* p, Float16 v, int64_t n) {
  const Word16 w = (Word16)v;
  const Word16 rounded = (w + 0x7fffu + ((w >> 16) & 1u)) >> 16;
  const Word16 quiet = (w >> 16) | 0x40u;
  const Word16 is_nan = (Word16)(v != v);
  const Half16 h = __builtin_convertvector((is_nan & quiet) | (~is_nan & rounded), Half16);
  std::memcpy(p, &h, n >= 16 ? 32 : size_t(n) * 2);
}

template <class V>
BRAID_INLINE auto sum_lanes(const V& v) {
  auto total = v[0];
  for (size_t i = 1; i < sizeof(V) / sizeof(v[0]); ++i) total += v[i];
  return total;
}
