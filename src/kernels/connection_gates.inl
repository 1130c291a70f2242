// SPDX-License-Identifier: Apache-2.0
// From raw numbers to coefficients and back, of as many tokens at once as a vector has lanes. Included after
// cpu_exponential.inl. A is float or double, S the number of streams, and a matrix H is an array of S * S vectors.

template <class A>
using VectorOf = typename Lanes<A>::Vector;

// A number of each of n tokens, whose rows are `row` apart; lanes without a token hold 0.
template <class A>
BRAID_INLINE VectorOf<A> gather(const A* p, int64_t row, int64_t n) {
  A lanes[Lanes<A>::count] = {};
  for (int64_t lane = 0; lane < n; ++lane) lanes[lane] = p[lane * row];
  return load(lanes, Lanes<A>::count);
}
template <class A>
BRAID_INLINE void scatter(A* p, int64_t row, int64_t n, VectorOf<A> v) {
  A lanes[Lanes<A>::count];
  store(lanes, v, Lanes<A>::count);
  for (int64_t lane = 0; lane < n; ++lane) p[lane * row] = lanes[lane];
}

template <class A>
BRAID_INLINE VectorOf<A> sigmoid(VectorOf<A> x) {
  const VectorOf<A> part = exponential(x < A(0) ? x : -x), inverse = A(1) / (part + A(1));
  return x < A(0) ? part * inverse : inverse;
}

// Near 0 by its series, since 1 - exp(-2x) would leave few digits.
BRAID_INLINE FloatLanes hyperbolic_tangent(FloatLanes x) {
  const FloatLanes size = x < 0.0f ? -x : x, part = exponential(-2.0f * size), far = (1.0f - part) / (1.0f + part);
  const FloatLanes z = x * x;
  const FloatLanes near = x + x * z * (((z * 2.1869488e-2f - 5.3968254e-2f) * z + 0.13333334f) * z - 0.33333334f);
  return size < 0.25f ? near : x < 0.0f ? -far : far;
}
BRAID_INLINE DoubleLanes hyperbolic_tangent(DoubleLanes x) {
  for (int64_t i = 0; i < Lanes<double>::count; ++i) x[i] = __builtin_tanh(x[i]);
  return x;
}

template <class V>
BRAID_INLINE V largest_of(const V* x, int count, int step) {
  V most = x[0];
  for (int i = 1; i < count; ++i) most = x[i * step] > most ? x[i * step] : most;
  return most;
}

// The i-th entry of a line: of a row, or of a column.
template <int S, bool rows>
constexpr int entry(int line, int i) {
  return rows ? line * S + i : i * S + line;
}

template <class A>
constexpr A least_sum = A(1e-12);

// Divides each line by its sum, or by the least one; keeps the sums. NaN stays NaN.
template <int S, bool rows, class A, class V = VectorOf<A>>
BRAID_INLINE void normalise_lines(V* m, V* sums) {
#pragma GCC unroll 8
  for (int line = 0; line < S; ++line) {
    V sum = m[entry<S, rows>(line, 0)];
#pragma GCC unroll 8
    for (int i = 1; i < S; ++i) sum += m[entry<S, rows>(line, i)];
    sums[line] = sum;
    const V inverse = A(1) / (sum < least_sum<A> ? V{} + least_sum<A> : sum);
#pragma GCC unroll 8
    for (int i = 0; i < S; ++i) m[entry<S, rows>(line, i)] *= inverse;
  }
}

// Backward of it, in place: gradient g and values m after it to those before.
template <int S, bool rows, class A, class V = VectorOf<A>>
BRAID_INLINE void undo_lines(V* m, V* g, const V* sums) {
#pragma GCC unroll 8
  for (int line = 0; line < S; ++line) {
    const auto clamped = sums[line] < least_sum<A>;
    const V divisor = clamped ? V{} + least_sum<A> : sums[line], inverse = A(1) / divisor;
    V dot = {};
#pragma GCC unroll 8
    for (int i = 0; i < S; ++i) dot += g[entry<S, rows>(line, i)] * m[entry<S, rows>(line, i)];
    dot = clamped ? V{} : dot;
#pragma GCC unroll 8
    for (int i = 0; i < S; ++i) {
      g[entry<S, rows>(line, i)] = (g[entry<S, rows>(line, i)] - dot) * inverse;
      m[entry<S, rows>(line, i)] *= divisor;
    }
  }
}

// exp of the logits without each column's largest, then columns and rows in turn. sums [2 * iterations, S].
template <int S, class A, class V = VectorOf<A>>
void sinkhorn_lanes(const V* raw, int64_t iterations, V* m, V* sums) {
  for (int column = 0; column < S; ++column) {
    const V most = largest_of(raw + column, S, S);
    for (int i = 0; i < S; ++i) m[i * S + column] = exponential(raw[i * S + column] - most);
  }
  V values[S * S];
  for (int i = 0; i < S * S; ++i) values[i] = m[i];
  for (int64_t k = 0; k < iterations; ++k) {
    normalise_lines<S, false, A>(values, sums + 2 * k * S);
    normalise_lines<S, true, A>(values, sums + (2 * k + 1) * S);
  }
  for (int i = 0; i < S * S; ++i) m[i] = values[i];
}

// dH in g to the gradient of raw.
template <int S, class A, class V = VectorOf<A>>
void sinkhorn_lanes_backward(const V* raw, int64_t iterations, V* g, V* sums) {
  V m[S * S], gradient[S * S];
  sinkhorn_lanes<S, A>(raw, iterations, m, sums);
  for (int i = 0; i < S * S; ++i) gradient[i] = g[i];
  for (int64_t k = iterations; k-- > 0;) {
    undo_lines<S, true, A>(m, gradient, sums + (2 * k + 1) * S);
    undo_lines<S, false, A>(m, gradient, sums + 2 * k * S);
  }
  for (int column = 0; column < S; ++column) {
    const V most = largest_of(raw + column, S, S);
    for (int i = 0; i < S; ++i) g[i * S + column] = gradient[i * S + column] * exponential(raw[i * S + column] - most);
  }
}

constexpr int factorial(int n) { return n <= 1 ? 1 : n * factorial(n - 1); }

// In lexicographic order: digit i of an index in the factorial base says which of the numbers left comes i-th.
template <int S>
struct Permutations {
  static constexpr int count = factorial(S);
  int at[count][S];

  constexpr Permutations() : at() {
    for (int index = 0; index < count; ++index) {
      bool used[S] = {};
      for (int i = 0; i < S; ++i) {
        int left = index / factorial(S - 1 - i) % (S - i), number = 0;
        while (used[number] || left-- > 0) ++number;
        used[number] = true;
        at[index][i] = number;
      }
    }
  }
};
template <int S>
constexpr Permutations<S> permutations{};

// weights = softmax(raw).
template <class A, class V = VectorOf<A>>
BRAID_INLINE void softmax_lanes(const V* raw, int count, V* weights) {
  const V most = largest_of(raw, count, 1);
  V sum = {};
  for (int i = 0; i < count; ++i) sum += weights[i] = exponential(raw[i] - most);
  const V inverse = A(1) / sum;
  for (int i = 0; i < count; ++i) weights[i] *= inverse;
}

template <int S, class A, class V = VectorOf<A>>
void permutation_lanes(const V* raw, V* m) {
  constexpr int count = Permutations<S>::count;
  V weights[count];
  softmax_lanes<A>(raw, count, weights);
  for (int i = 0; i < S * S; ++i) m[i] = V{};
  for (int p = 0; p < count; ++p) {
    for (int i = 0; i < S; ++i) m[i * S + permutations<S>.at[p][i]] += weights[p];
  }
}

// dH to the gradient of raw [S!].
template <int S, class A, class V = VectorOf<A>>
void permutation_lanes_backward(const V* raw, const V* dH, V* g) {
  constexpr int count = Permutations<S>::count;
  V weights[count], mean = {};
  softmax_lanes<A>(raw, count, weights);
  for (int p = 0; p < count; ++p) {
    g[p] = V{};
    for (int i = 0; i < S; ++i) g[p] += dH[i * S + permutations<S>.at[p][i]];
    mean += weights[p] * g[p];
  }
  for (int p = 0; p < count; ++p) g[p] = weights[p] * (g[p] - mean);
}
