// SPDX-License-Identifier: Apache-2.0
// Vectors as wide as the registers of the instruction set that the including file is compiled for, in GCC's portable
// notation. Included inside that file's own anonymous namespace. Nothing here or in the files that include it may use
// an inline function or template of the standard library: the linker keeps one copy of such a symbol for the whole
// program, and if that is the copy compiled for AVX-512, the program dies on a processor without it
// (tests/kernels/test_instruction_sets.py looks for such symbols).

#define BRAID_INLINE inline __attribute__((always_inline))
#define BRAID_LAMBDA __attribute__((always_inline))

#if defined(__AVX512F__)
constexpr int64_t vector_bytes = 64;
#elif defined(__AVX2__)
constexpr int64_t vector_bytes = 32;
#else
constexpr int64_t vector_bytes = 16;
#endif

struct Bf16 {
  uint16_t bits;
};

typedef float FloatLanes __attribute__((vector_size(vector_bytes)));
typedef double DoubleLanes __attribute__((vector_size(vector_bytes)));
typedef uint32_t WordLanes __attribute__((vector_size(vector_bytes)));
typedef uint64_t LongLanes __attribute__((vector_size(vector_bytes)));
typedef uint16_t Bf16Lanes __attribute__((vector_size(vector_bytes / 2)));

template <class T>
struct Lanes;  // what a stored T is computed in

template <>
struct Lanes<float> {
  using Scalar = float;
  using Vector = FloatLanes;
  static constexpr int64_t count = vector_bytes / 4;
};
template <>
struct Lanes<double> {
  using Scalar = double;
  using Vector = DoubleLanes;
  static constexpr int64_t count = vector_bytes / 8;
};
template <>
struct Lanes<Bf16> : Lanes<float> {};

// The first n elements (all where n is at least the number of lanes); the other lanes hold `rest`.
template <class Raw, class T>
BRAID_INLINE Raw load_raw(const T* p, int64_t n, Raw rest) {
  if (n >= int64_t(sizeof(Raw) / sizeof(T))) __builtin_memcpy(&rest, p, sizeof(Raw));
  else __builtin_memcpy(&rest, p, size_t(n) * sizeof(T));
  return rest;
}
BRAID_INLINE FloatLanes load(const float* p, int64_t n, float rest = 0) { return load_raw(p, n, FloatLanes{} + rest); }
BRAID_INLINE DoubleLanes load(const double* p, int64_t n, double rest = 0) {
  return load_raw(p, n, DoubleLanes{} + rest);
}
BRAID_INLINE FloatLanes load(const Bf16* p, int64_t n, float rest = 0) {
  uint32_t word;
  __builtin_memcpy(&word, &rest, 4);
  const Bf16Lanes raw = load_raw(p, n, Bf16Lanes{} + uint16_t(word >> 16));  // `rest` is exact in bf16
  return (FloatLanes)(__builtin_convertvector(raw, WordLanes) << 16);
}

template <class Raw, class T>
BRAID_INLINE void store_raw(T* p, const Raw& raw, int64_t n) {
  if (n >= int64_t(sizeof(Raw) / sizeof(T))) __builtin_memcpy(p, &raw, sizeof(Raw));
  else __builtin_memcpy(p, &raw, size_t(n) * sizeof(T));
}
BRAID_INLINE void store(float* p, FloatLanes v, int64_t n) { store_raw(p, v, n); }
BRAID_INLINE void store(double* p, DoubleLanes v, int64_t n) { store_raw(p, v, n); }
// The upper halves of the words. GCC 12 narrows a vector lane by lane below AVX-512, hence the intrinsics.
BRAID_INLINE Bf16Lanes upper_halves(WordLanes w) {
#if defined(__AVX512F__)
  return __builtin_convertvector(w >> 16, Bf16Lanes);
#elif defined(__AVX2__)
  const __m256i high = _mm256_srai_epi32((__m256i)w, 16);
  return (Bf16Lanes)_mm_packs_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
#else
  const __m128i high = _mm_srai_epi32((__m128i)w, 16);
  const int64_t four = _mm_cvtsi128_si64(_mm_packs_epi32(high, high));
  return (Bf16Lanes)four;
#endif
}
// Round to nearest even; NaN stays NaN.
BRAID_INLINE void store(Bf16* p, FloatLanes v, int64_t n) {
  const WordLanes w = (WordLanes)v;
  const WordLanes rounded = w + 0x7fffu + ((w >> 16) & 1u), quiet = w | 0x400000u;
  store_raw(p, upper_halves(v == v ? rounded : quiet), n);
}

template <class V>
BRAID_INLINE auto sum_lanes(const V& v) {
  auto total = v[0];
  for (size_t i = 1; i < sizeof(V) / sizeof(v[0]); ++i) total += v[i];
  return total;
}

// body(d, n) for each run of columns, n being the number of lanes but for the last run.
template <class T, class Body>
BRAID_INLINE void for_columns(int64_t columns, const Body& body) {
  constexpr int64_t count = Lanes<T>::count;
  int64_t d = 0;
  for (; d + count <= columns; d += count) body(d, count);
  if (d < columns) body(d, columns - d);
}

// For sums over rows: at most 64 blocks, whatever the number of threads, so that their order is always the same.
BRAID_INLINE int64_t rows_of_block(int64_t rows) {
  const int64_t share = (rows + 63) / 64;
  return share < 16 ? 16 : share;
}

// Zeroed memory, for partial sums and panels; aligned, so that no vector straddles two cache lines.
template <class T>
class ZeroedArray {
 public:
  explicit ZeroedArray(int64_t count) : data_(static_cast<T*>(::operator new(size_t(count) * sizeof(T), line))) {
    __builtin_memset(static_cast<void*>(data_), 0, size_t(count) * sizeof(T));
  }
  ~ZeroedArray() { ::operator delete(data_, line); }
  ZeroedArray(const ZeroedArray&) = delete;
  ZeroedArray& operator=(const ZeroedArray&) = delete;
  T& operator[](int64_t i) const { return data_[i]; }

 private:
  static constexpr std::align_val_t line{64};
  T* data_;
};
