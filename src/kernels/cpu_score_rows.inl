// SPDX-License-Identifier: Apache-2.0
// What attention of all kinds does with rows: into padded rows of vectors and back, and the softmax of a row of scores.
// Included after cpu_lanes.inl and cpu_exponential.inl.

constexpr int64_t scores_in_cache = 65536;  // elements of a block's rows of scores

template <class T>
constexpr int64_t padded(int64_t n) {
  return (n + Lanes<T>::count - 1) / Lanes<T>::count * Lanes<T>::count;
}

// rows x width elements of stride in_row, times `factor`, into padded rows of vectors.
template <class T, class S = typename Lanes<T>::Scalar>
void gather_rows(const T* in, int64_t in_row, int64_t rows, int64_t width, S factor, S* out, int64_t out_row) {
  for (int64_t t = 0; t < rows; ++t) {
    for_columns<T>(width, [&](int64_t c, int64_t n) BRAID_LAMBDA {
      store(out + t * out_row + c, load(in + t * in_row + c, n) * factor, Lanes<T>::count);
    });
  }
}

template <class T, class S = typename Lanes<T>::Scalar>
void scatter_rows(const S* in, int64_t in_row, int64_t rows, int64_t width, S factor, T* out, int64_t out_row) {
  for (int64_t t = 0; t < rows; ++t) {
    for_columns<T>(width, [&](int64_t c, int64_t n) BRAID_LAMBDA {
      store(out + t * out_row + c, load(in + t * in_row + c, Lanes<T>::count) * factor, n);
    });
  }
}

// A row of scores, of which the first `visible` count, to probabilities; zeros up to `end`. Returns max + log sum.
template <class T, class S = typename Lanes<T>::Scalar>
S softmax_row(S* row, int64_t visible, int64_t end) {
  using V = typename Lanes<T>::Vector;
  constexpr S lowest = S(-__builtin_inf());
  V best = V{} + lowest, sum = {};
  for_columns<T>(visible, [&](int64_t j, int64_t n) BRAID_LAMBDA {
    const V x = load(row + j, n, lowest);
    best = x > best ? x : best;
  });
  S max = best[0];
  for (int64_t lane = 1; lane < Lanes<T>::count; ++lane) max = best[lane] > max ? best[lane] : max;
  for_columns<T>(visible, [&](int64_t j, int64_t n) BRAID_LAMBDA {
    const V e = exponential(load(row + j, n, lowest) - max);
    sum += e;
    store(row + j, e, Lanes<T>::count);  // the row is padded
  });
  const S total = sum_lanes(sum), factor = S(1) / total;
  for_columns<T>(visible, [&](int64_t j, int64_t) BRAID_LAMBDA {
    store(row + j, load(row + j, Lanes<T>::count) * factor, Lanes<T>::count);
  });
  for (int64_t j = padded<T>(visible); j < end; j += Lanes<T>::count) store(row + j, V{}, Lanes<T>::count);
  return max + S(__builtin_log(double(total)));
}
