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
  int64_t norms() const { return connection_norms(shape.mixing, shape.streams); }
  int64_t each() const { return K() / norms(); }                             // logits of a norm
  int64_t numbers() const { return shape.streams * shape.width / norms(); }  // that it is taken of
};

// Rounded to what the kernel sees.
template <class E>
ConnectionInputs random_connection(const ConnectionShape& shape, bool writes, Random& random) {
  using A = typename E::Coefficient;
  const int64_t M = shape.tokens, S = shape.streams, D = shape.width, K = connection_logits(shape.mixing, S);
  const int64_t N = connection_norms(shape.mixing, S), rows = S * D / N;
  const auto streams = [&](int64_t count) { return rounded<E>(random.normal(count)); };
  const auto numbers = [&](int64_t count, double deviation) { return rounded_to<A>(random.normal(count, deviation)); };
  ConnectionInputs in{shape,
                      writes,
                      streams(M * S * D),
                      streams(M * D),
                      numbers(M * S, 1),
                      numbers(M * S * S, 1),
                      numbers(rows * K / N, 1 / std::sqrt(double(rows))),
                      numbers(N == 1 ? 3 : 2, 0.7),
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

// r [M, N].
inline Numbers rstd_of(const ConnectionInputs& in, const Numbers& X) {
  const int64_t count = in.numbers();
  Numbers out;
  for (int64_t norm = 0; norm < in.shape.tokens * in.norms(); ++norm) {
    double squares = 0;
    for (int64_t i = 0; i < count; ++i) squares += X[size_t(norm * count + i)] * X[size_t(norm * count + i)];
    out.push_back(1 / std::sqrt(squares / double(count) + in.shape.epsilon));
  }
  return out;
}

// y [M, K] of X' and r.
inline Results projected(const ConnectionInputs& in, const Numbers& X, const Numbers& rstd) {
  const int64_t count = in.numbers(), each = in.each();
  Results out(size_t(in.shape.tokens * in.K()));
  for (int64_t norm = 0; norm < in.shape.tokens * in.norms(); ++norm) {
    for (int64_t k = 0; k < each; ++k) {
      Number sum;
      for (int64_t i = 0; i < count; ++i) sum = sum + Number(X[size_t(norm * count + i)]) * in.P[size_t(i * each + k)];
      out[size_t(norm * each + k)] = sum * rstd[size_t(norm)];
    }
  }
  return out;
}

struct Coefficients {
  Numbers read, write, mix;
};

inline bool is_hyper(const ConnectionShape& shape) { return shape.mixing == Mixing::unconstrained; }

inline int64_t part_of(const ConnectionShape& shape, int64_t k) {
  if (is_hyper(shape)) return k % (2 + shape.streams) == 1 ? 1 : 0;
  return k < shape.streams ? 0 : k < 2 * shape.streams ? 1 : 2;
}

// What is scaled of y, and its slope.
inline double bent(const ConnectionShape& shape, double y) { return is_hyper(shape) ? std::tanh(y) : y; }
inline double slope_at(const ConnectionShape& shape, double y) {
  return is_hyper(shape) ? 1 - std::tanh(y) * std::tanh(y) : 1;
}

// raw of one token.
inline Numbers raw_of(const ConnectionInputs& in, const Numbers& y, int64_t token) {
  Numbers raw;
  for (int64_t k = 0; k < in.K(); ++k) {
    const double scaled = bent(in.shape, y[size_t(token * in.K() + k)]);
    raw.push_back(in.scale[size_t(part_of(in.shape, k))] * scaled + in.bias[size_t(k)]);
  }
  return raw;
}

// HC's coefficients of a token in the order of its logits, a row for each stream s: w[s], c[s] and H[0,s] to H[S-1,s].
template <class X>
std::vector<X> in_order_of_logits(int64_t S, const std::vector<X>& w, const std::vector<X>& c,
                                  const std::vector<X>& H) {
  std::vector<X> out;
  for (int64_t s = 0; s < S; ++s) {
    out.push_back(w[size_t(s)]);
    out.push_back(c[size_t(s)]);
    for (int64_t i = 0; i < S; ++i) out.push_back(H[size_t(i * S + s)]);
  }
  return out;
}

inline Coefficients coefficients_of(const ConnectionInputs& in, const Numbers& y) {
  const int64_t S = in.shape.streams;
  Coefficients out;
  for (int64_t token = 0; token < in.shape.tokens; ++token) {
    const Numbers raw = raw_of(in, y, token);
    if (is_hyper(in.shape)) {
      for (int64_t s = 0; s < S; ++s) out.read.push_back(raw[size_t(s * (2 + S))]);
      for (int64_t s = 0; s < S; ++s) out.write.push_back(raw[size_t(s * (2 + S) + 1)]);
      for (int64_t i = 0; i < S * S; ++i) out.mix.push_back(raw[size_t(i % S * (2 + S) + 2 + i / S)]);
      continue;
    }
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
  Results dw, out;
  for (int64_t s = 0; s < S; ++s) {
    Number dot;
    for (int64_t d = 0; d < D; ++d) {
      dot = dot + Number(X[size_t((token * S + s) * D + d)]) * in.dm[size_t(token * D + d)];
    }
    dw.push_back(dot);
  }
  if (is_hyper(in.shape)) {
    const auto dc = in.dc.begin() + token * S, of_mix = in.dH.begin() + token * S * S;
    return in_order_of_logits<Number>(S, dw, Results(dc, dc + S), Results(of_mix, of_mix + S * S));
  }
  for (int64_t s = 0; s < S; ++s) {
    const double w = logistic(raw[size_t(s)]);
    out.push_back(dw[size_t(s)] * Number(w * (1 - w)));
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
inline Results gradient_of_streams(const ConnectionInputs& in, const Numbers& X, const Numbers& y, const Numbers& rstd,
                                   int64_t token, ConnectionGradients& sums) {
  const int64_t S = in.shape.streams, D = in.shape.width, K = in.K(), N = in.norms(), count = in.numbers();
  const Results draw = raw_gradient(in, X, y, token);
  const Numbers raw = raw_of(in, y, token);
  Results g, along(static_cast<size_t>(N));
  for (int64_t k = 0; k < K; ++k) {
    const size_t part = size_t(part_of(in.shape, k)), i = size_t(k), norm = size_t(k / in.each());
    const double projected = y[size_t(token * K + k)], r = rstd[size_t(token * N) + norm];
    const Number dy = draw[i] * Number(in.scale[part]) * Number(slope_at(in.shape, projected));
    sums.bias[i] = sums.bias[i] + draw[i];
    sums.scale[part] = sums.scale[part] + draw[i] * Number(bent(in.shape, projected));
    along[norm] = along[norm] + Number(projected) * dy * Number(r * r / double(count));
    g.push_back(dy * Number(r));
  }
  Results G;
  for (int64_t i = 0; i < S * D; ++i) {
    const int64_t s = i / D, norm = i / count, row = i % count;
    const double x = X[size_t(token * S * D + i)];
    const double w = is_hyper(in.shape) ? raw[size_t(s * in.each())] : logistic(raw[size_t(s)]);
    Number sum = Number(in.dX[size_t(token * S * D + i)]) + Number(w) * in.dm[size_t(token * D + i % D)] -
                 along[size_t(norm)] * Number(x);
    for (int64_t k = 0; k < in.each(); ++k) {
      const Number through = g[size_t(norm * in.each() + k)];
      sum = sum + through * Number(in.P[size_t(row * in.each() + k)]);
      Number& total = sums.projection[size_t(row * in.each() + k)];
      total = total + through * Number(x);
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
    const Results G = gradient_of_streams(in, X, y, rstd, token, out);
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
