// SPDX-License-Identifier: Apache-2.0
// What products of a few tokens share. Included after cpu_lanes.inl.

constexpr int64_t lanes = Lanes<float>::count;

BRAID_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

BRAID_INLINE float sum_of(FloatLanes v) {
#pragma GCC unroll 4
  for (int64_t distance = lanes / 2; distance > 0; distance /= 2) {
    WordLanes from;
    for (int64_t i = 0; i < lanes; ++i) from[i] = uint32_t(i ^ distance);
    v += __builtin_shuffle(v, from);
  }
  return v[0];
}

// One stream of memory is read ahead by so many bytes: processors do so themselves, but not far enough for one core to have
// all that memory gives (measured: 1.2 times as fast), and a distance of 4 KiB is a slow one.
constexpr int64_t bytes_ahead = 2560;

// So many tokens are multiplied at a time, their number known to the compiler.
constexpr int64_t few_tokens = 8;

template <int N>
struct TokenCount {
  static constexpr int value = N;
};

// body(TokenCount<tokens>), for 1 to few_tokens.
template <class Body>
BRAID_INLINE void with_tokens(int64_t tokens, const Body& body) {
  switch (tokens) {
    case 1: return body(TokenCount<1>());
    case 2: return body(TokenCount<2>());
    case 3: return body(TokenCount<3>());
    case 4: return body(TokenCount<4>());
    case 5: return body(TokenCount<5>());
    case 6: return body(TokenCount<6>());
    case 7: return body(TokenCount<7>());
    default: return body(TokenCount<few_tokens>());
  }
}

// What the calling thread of a parallel region does of so many rows.
struct Share {
  int64_t first, end;
};
BRAID_INLINE Share own_share(int64_t rows) {
  const int64_t thread = omp_get_thread_num(), threads = omp_get_num_threads();
  return {rows * thread / threads, rows * (thread + 1) / threads};
}
