// SPDX-License-Identifier: Apache-2.0
// Decoding of NF4 in registers, shared by the CPU kernels that read it. Included after cpu_lanes.inl.

#include "kernels/cpu_few_tokens.inl"

// Keeps a product from being joined with the sum it goes into: bitsandbytes rounds both.
BRAID_INLINE float rounded(float x) {
  __asm__("" : "+x"(x));
  return x;
}

BRAID_INLINE float block_absmax(const Nf4Scales& scales, int64_t block) {
  if (!scales.codes) return scales.absmax[block];
  return rounded(scales.map[scales.codes[block]] * scales.absmax[block / nf4_nested_block]) + scales.offset;
}

// The numbers of as many codes as there are lanes; of each lane the lowest four bits count.
#if defined(__AVX512F__)
BRAID_INLINE FloatLanes numbers_of(WordLanes codes) {
  FloatLanes numbers;
  __builtin_memcpy(&numbers, nf4_values, sizeof numbers);
  return __builtin_shuffle(numbers, codes);
}
#elif defined(__AVX2__)
BRAID_INLINE FloatLanes numbers_of(WordLanes codes) {
  const __m256 lower = _mm256_permutevar8x32_ps(_mm256_load_ps(nf4_values), (__m256i)codes);
  const __m256 upper = _mm256_permutevar8x32_ps(_mm256_load_ps(nf4_values + 8), (__m256i)codes);
  return (FloatLanes)_mm256_blendv_ps(lower, upper, (__m256)(codes << 28));
}
#else
BRAID_INLINE FloatLanes numbers_of(WordLanes codes) {
  return FloatLanes{nf4_values[codes[0] & 15], nf4_values[codes[1] & 15], nf4_values[codes[2] & 15],
                    nf4_values[codes[3] & 15]};
}
#endif

// As many bytes as there are lanes, each widened to a word.
BRAID_INLINE WordLanes words_of(const uint8_t* bytes) {
#if defined(__AVX512F__)
  return (WordLanes)_mm512_maskz_cvtepu8_epi32(0xffff, _mm_loadu_si128((const __m128i*)bytes));
#elif defined(__AVX2__)
  return (WordLanes)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)bytes));
#else
  return WordLanes{bytes[0], bytes[1], bytes[2], bytes[3]};
#endif
}

// What as many codes as there are lanes stand for.
BRAID_INLINE FloatLanes looked_up(const float* map, const uint8_t* codes) {
#if defined(__AVX512F__)
  return (FloatLanes)_mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xffff, (__m512i)words_of(codes), map, 4);
#elif defined(__AVX2__)
  return (FloatLanes)_mm256_i32gather_ps(map, (__m256i)words_of(codes), 4);
#else
  return FloatLanes{map[codes[0]], map[codes[1]], map[codes[2]], map[codes[3]]};
#endif
}

// block_absmax of `count` blocks from `first` on.
BRAID_INLINE void block_absmaxes(const Nf4Scales& scales, int64_t first, int64_t count, float* out) {
  for (int64_t b = 0; b < count;) {
    const int64_t block = first + b, sharing = nf4_nested_block - block % nf4_nested_block;
    if (scales.codes && smaller(count - b, sharing) >= lanes) {
      FloatLanes product = looked_up(scales.map, scales.codes + block) * scales.absmax[block / nf4_nested_block];
      __asm__("" : "+x"(product));  // rounded, as above
      store(out + b, product + scales.offset, lanes);
      b += lanes;
    } else {
      out[b++] = block_absmax(scales, block);
    }
  }
}

// The numbers in `lanes` bytes as two runs of neighbours: even ones come from upper halves, odd ones from lower.
struct Neighbours {
  FloatLanes first, second;
};
BRAID_INLINE Neighbours interleaved(FloatLanes even, FloatLanes odd) {
#if defined(__AVX512F__)
  const __m512i lower = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i upper = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  return {(FloatLanes)_mm512_permutex2var_ps((__m512)even, lower, (__m512)odd),
          (FloatLanes)_mm512_permutex2var_ps((__m512)even, upper, (__m512)odd)};
#elif defined(__AVX2__)
  const __m256 low = _mm256_unpacklo_ps((__m256)even, (__m256)odd), high = _mm256_unpackhi_ps((__m256)even, (__m256)odd);
  return {(FloatLanes)_mm256_permute2f128_ps(low, high, 0x20), (FloatLanes)_mm256_permute2f128_ps(low, high, 0x31)};
#else
  return {FloatLanes{even[0], odd[0], even[1], odd[1]}, FloatLanes{even[2], odd[2], even[3], odd[3]}};
#endif
}
BRAID_INLINE Neighbours numbers_in(const uint8_t* bytes) {
  const WordLanes words = words_of(bytes);
  return interleaved(numbers_of(words >> 4), numbers_of(words));
}

BRAID_INLINE void put(float* out, FloatLanes v, int64_t n) { store(out, v, n); }
BRAID_INLINE void put(Bf16* out, FloatLanes v, int64_t n) { store(out, v, n); }
BRAID_INLINE void put(double* out, FloatLanes v, int64_t n) {
  for (int64_t i = 0; i < n && i < lanes; ++i) out[i] = double(v[i]);
}

// `count` weights of one block from flat index `first` on.
template <class T>
BRAID_INLINE void decode_part(const Nf4Matrix& w, int64_t first, int64_t count, T* out) {
  const float scale = block_absmax(w.scales, first / nf4_block);
  const uint8_t* bytes = w.packed + first / 2;
  for (int64_t i = 0; i < count; i += 2 * lanes) {
    const Neighbours v = numbers_in(bytes + i / 2);
    put(out + i, v.first * scale, lanes);
    put(out + i + lanes, v.second * scale, lanes);
  }
}

// One weight at a time, for what is no whole number of vectors or begins within a byte.
template <class T>
void decode_singly(const Nf4Matrix& w, int64_t first, int64_t count, T* out) {
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = first + i;
    const uint32_t byte = w.packed[at / 2];
    const float value = nf4_values[at % 2 ? byte & 15 : byte >> 4] * block_absmax(w.scales, at / nf4_block);
    put(out + i, FloatLanes{} + value, 1);
  }
}

// `count` weights from flat index `first` on.
template <class T>
void decode_run(const Nf4Matrix& w, int64_t first, int64_t count, T* out) {
  int64_t done = 0;
  while (done < count) {
    const int64_t at = first + done, part = smaller(count - done, nf4_block - at % nf4_block);
    part % (2 * lanes) || at % 2 ? decode_singly(w, at, part, out + done) : decode_part(w, at, part, out + done);
    done += part;
  }
}
