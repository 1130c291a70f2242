// SPDX-License-Identifier: Apache-2.0
// A fused connection by its plain formulas, in double, each number beside its magnitude: the same sum with absolute
// values, of which rounding errors are a small multiple.
#pragma once

#include "mixing_reference.h"

namespace braid::kernels::test {

struct Number {
  double value = 0, magnitude = 0;

  Number() = default;
  Number(double x) : value(x), magnitude(std::abs(x)) {}  // implicit: a number that is given exactly
  Number(double x, double size) : value(x), magnitude(size) {}
};
inline Number operator+(Number a, Number b) { return {a.value + b.value, a.magnitude + b.magnitude}; }
inline Number operator-(Number a, Number b) { return {a.value - b.value, a.magnitude + b.magnitude}; }
inline Number operator*(Number a, Number b) { return {a.value * b.value, a.magnitude * b.magnitude}; }

using Results = std::vector<Number>;
inline Results exactly(const Numbers& x) { return Results(x.begin(), x.end()); }
inline Numbers values_of(const Results& x) {
  Numbers out;
  for (const Number& n : x) out.push_back(n.value);
  return out;
}
inline Numbers bounds_of(const Results& x, double relative) {
  Numbers out;
  for (const Number& n : x) out.push_back(n.magnitude * relative);
  return out;
}

struct ConnectionInputs {
  ConnectionShape shape;
  bool writes;
  Numbers X, f, c, H, P, scale, bias;
  Numbers dX, dm, dc, dH;  // gradients of the outputs

  int64_t K() const { return connection_logits(shape.mixing, shape.streams); }
};

// Rounded to what the kernel sees.
template <class E>
ConnectionInputs random_connection(const ConnectionShape& shape, bool writes, Random& random) {
  using A = typename E::Coefficient;
  const int64_t M = shape.tokens, S = shape.streams, D = shape.width, K = connection_logits(shape.mixing, S);
  const auto streams = [&](int64_t count) { return rounded<E>(random.normal(count)); };
  const auto numbers = [&](int64_t count, double deviation) { return rounded_to<A>(random.normal(count, deviation)); };
  ConnectionInputs in{shape,
                      writes,
                      streams(M * S * D),
                      streams(M * D),
                      numbers(M * S, 1),
                      numbers(M * S * S, 1),
                      numbers(S * D * K, 1 / std::sqrt(double(S * D))),
                      numbers(3, 0.7),
                      numbers(K, 1),
                      streams(M * S * D),
                      streams(M * D),
                      numbers(M * S, 1),
                      numbers(M * S * S, 1)};
  return in;
}

// X' [M, S, D].
inline Results written(const ConnectionInputs& in) {
  if (!in.writes) return exactly(in.X);
  const int64_t S = in.shape.streams, D = in.shape.width;
  Results out(in.X.size());
  for (int64_t row = 0; row < in.shape.tokens * S; ++row) {
    const int64_t token = row / S;
    for (int64_t d = 0; d < D; ++d) {
      Number sum = Number(in.c[size_t(row)]) * in.f[size_t(token * D + d)];
      for (int64_t t = 0; t < S; ++t) {
        sum = sum + Number(in.H[size_t(row * S + t)]) * in.X[size_t((token * S + t) * D + d)];
      }
      out[size_t(row * D + d)] = sum;
    }
  }
  return out;
}

inline Numbers rstd_of(const ConnectionShape& shape, const Numbers& X) {
  const int64_t N = shape.streams * shape.width;
  Numbers out;
  for (int64_t token = 0; token < shape.tokens; ++token) {
    double squares = 0;
    for (int64_t i = 0; i < N; ++i) squares += X[size_t(token * N + i)] * X[size_t(token * N + i)];
    out.push_back(1 / std::sqrt(squares / double(N) + shape.epsilon));
  }
  return out;
}

// y [M, K] of X' and r.
inline Results projected(const ConnectionInputs& in, const Numbers& X, const Numbers& rstd) {
  const int64_t N = in.shape.streams * in.shape.width, K = in.K();
  Results out(size_t(in.shape.tokens * K));
  for (int64_t token = 0; token < in.shape.tokens; ++token) {
    for (int64_t k = 0; k < K; ++k) {
      Number sum;
      for (int64_t i = 0; i < N; ++i) sum = sum + Number(X[size_t(token * N + i)]) * in.P[size_t(i * K + k)];
      out[size_t(token * K + k)] = sum * rstd[size_t(token)];
    }
  }
  return out;
}

struct Coefficients {
  Numbers read, write, mix;
};

inline int64_t part_of(const ConnectionShape& shape, int64_t k) {
  return k < shape.streams ? 0 : k < 2 * shape.streams ? 1 : 2;
}

// raw of one token.
inline Numbers raw_of(const ConnectionInputs& in, const Numbers& y, int64_t token) {
  Numbers raw;
  for (int64_t k = 0; k < in.K(); ++k) {
    raw.push_back(in.scale[size_t(part_of(in.shape, k))] * y[size_t(token * in.K() + k)] + in.bias[size_t(k)]);
  }
  return raw;
}

inline Coefficients coefficients_of(const ConnectionInputs& in, const Numbers& y) {
  const int64_t S = in.shape.streams;
  Coefficients out;
  for (int64_t token = 0; token < in.shape.tokens; ++token) {
    const Numbers raw = raw_of(in, y, token);
    for (int64_t s = 0; s < S; ++s) {
      out.read.push_back(logistic(raw[size_t(s)]));
      out.write.push_back(2 * logistic(raw[size_t(S + s)]));
    }
    const Numbers mix = mixing_of(in.shape, Numbers(raw.begin() + 2 * S, raw.end()));
    out.mix.insert(out.mix.end(), mix.begin(), mix.end());
  }
  return out;
}

// m' of X' and w.
inline Results read_of(const ConnectionShape& shape, const Numbers& X, const Numbers& w) {
  const int64_t S = shape.streams, D = shape.width;
  Results out(size_t(shape.tokens * D));
  for (int64_t row = 0; row < shape.tokens * S; ++row) {
    for (int64_t d = 0; d < D; ++d) {
      Number& sum = out[size_t(row / S * D + d)];
      sum = sum + Number(w[size_t(row)]) * X[size_t(row * D + d)];
    }
  }
  return out;
}

struct ConnectionGradients {
  Results X, f, write, mix, projection, scale, bias;
};

// Of raw, for one token: X' and the saved outputs are those the kernel gets. A mixing gradient's magnitude is that of
// all of dH together: normalisations spread it.
inline Results raw_gradient(const ConnectionInputs& in, const Numbers& X, const Numbers& y, int64_t token) {
  const int64_t S = in.shape.streams, D = in.shape.width;
  const Numbers raw = raw_of(in, y, token);
  Results out;
  for (int64_t s = 0; s < S; ++s) {
    Number dot;
    for (int64_t d = 0; d < D; ++d) {
      dot = dot + Number(X[size_t((token * S + s) * D + d)]) * in.dm[size_t(token * D + d)];
    }
    const double w = logistic(raw[size_t(s)]);
    out.push_back(dot * Number(w * (1 - w)));
  }
  for (int64_t s = 0; s < S; ++s) {
    const double half = logistic(raw[size_t(S + s)]);
    out.push_back(Number(in.dc[size_t(token * S + s)]) * Number(2 * half * (1 - half)));
  }
  const auto begin = in.dH.begin() + token * S * S;
  const Numbers dH(begin, begin + S * S);
  const double all = std::accumulate(dH.begin(), dH.end(), 0.0, [](double a, double b) { return a + std::abs(b); });
  for (const double g : mixing_gradient(in.shape, Numbers(raw.begin() + 2 * S, raw.end()), dH)) out.push_back({g, all});
  return out;
}

// What reaches X' [S, D] of one token, from the gradient of raw; adds to those of P, scale and bias.
inline Results gradient_of_streams(const ConnectionInputs& in, const Numbers& X, const Numbers& y, double rstd,
                                   int64_t token, ConnectionGradients& sums) {
  const int64_t S = in.shape.streams, D = in.shape.width, N = S * D, K = in.K();
  const Results draw = raw_gradient(in, X, y, token);
  const Numbers raw = raw_of(in, y, token);
  Results g;
  Number along;
  for (int64_t k = 0; k < K; ++k) {
    const size_t part = size_t(part_of(in.shape, k)), i = size_t(k);
    const Number projected = y[size_t(token * K + k)], dy = draw[i] * Number(in.scale[part]);
    sums.bias[i] = sums.bias[i] + draw[i];
    sums.scale[part] = sums.scale[part] + draw[i] * projected;
    along = along + projected * dy * Number(rstd * rstd / double(N));
    g.push_back(dy * Number(rstd));
  }
  Results G;
  for (int64_t i = 0; i < N; ++i) {
    const double x = X[size_t(token * N + i)], w = logistic(raw[size_t(i / D)]);
    Number sum =
        Number(in.dX[size_t(token * N + i)]) + Number(w) * in.dm[size_t(token * D + i % D)] - along * Number(x);
    for (int64_t k = 0; k < K; ++k) {
      sum = sum + g[size_t(k)] * Number(in.P[size_t(i * K + k)]);
      Number& total = sums.projection[size_t(i * K + k)];
      total = total + g[size_t(k)] * Number(x);
    }
    G.push_back(sum);
  }
  return G;
}

inline ConnectionGradients connection_gradients(const ConnectionInputs& in, const Numbers& X, const Numbers& y,
                                                const Numbers& rstd) {
  const int64_t S = in.shape.streams, D = in.shape.width;
  ConnectionGradients out{Results(in.X.size()), Results(in.f.size()),     Results(in.c.size()),   Results(in.H.size()),
                          Results(in.P.size()), Results(in.scale.size()), Results(in.bias.size())};
  for (int64_t token = 0; token < in.shape.tokens; ++token) {
    const Results G = gradient_of_streams(in, X, y, rstd[size_t(token)], token, out);
    for (int64_t i = 0; i < S * D; ++i) {
      const int64_t row = token * S + i / D, d = i % D;
      const Number g = G[size_t(i)];
      const auto add = [](Number& to, Number x) { to = to + x; };
      if (!in.writes) {
        add(out.X[size_t(row * D + d)], g);
        continue;
      }
      add(out.f[size_t(token * D + d)], Number(in.c[size_t(row)]) * g);
      add(out.write[size_t(row)], Number(in.f[size_t(token * D + d)]) * g);
      for (int64_t t = 0; t < S; ++t) {
        const size_t x = size_t((token * S + t) * D + d), h = size_t(row * S + t);
        add(out.X[x], Number(in.H[h]) * g);
        add(out.mix[h], Number(in.X[x]) * g);
      }
    }
  }
  return out;
}

}  // namespace braid::kernels::test
