// SPDX-License-Identifier: Apache-2.0
// The four stream kernels by their plain formulas in double. Beside each result stands its magnitude, the same sum with
// absolute values: rounding errors are a small multiple of it.
#pragma once

#include "kernels/stream_mix.h"
#include "support.h"

namespace braid::kernels::test {

struct Sum {
  Numbers value, magnitude;

  explicit Sum(int64_t count = 0) : value(size_t(count)), magnitude(size_t(count)) {}
  void add(int64_t i, double x) {
    value[size_t(i)] += x;
    magnitude[size_t(i)] += std::abs(x);
  }
  Numbers bound(double relative) const {
    Numbers bound;
    for (const double x : magnitude) bound.push_back(relative * x);
    return bound;
  }
};

struct StreamInputs {
  StreamShape shape;
  Numbers X, f, H, c, w, dX_out, dm;  // dX_out [M, S, D], dm [M, D]: gradients of the outputs

  int64_t rows() const { return shape.per_token ? shape.tokens : 1; }
  int64_t narrow() const { return shape.tokens * shape.width; }
  int64_t wide() const { return narrow() * shape.streams; }
};

// Rounded to what the kernel sees.
template <class E>
StreamInputs random_inputs(StreamShape shape, Random& random) {
  using A = typename E::Coefficient;
  StreamInputs in;
  in.shape = shape;
  const int64_t n = shape.streams;
  in.X = rounded<E>(random.normal(in.wide()));
  in.f = rounded<E>(random.normal(in.narrow()));
  in.dX_out = rounded<E>(random.normal(in.wide()));
  in.dm = rounded<E>(random.normal(in.narrow()));
  in.H = rounded_to<A>(random.normal(in.rows() * n * n));
  in.c = rounded_to<A>(random.normal(in.rows() * n));
  in.w = rounded_to<A>(random.normal(in.rows() * n));
  return in;
}

// Calls visit(token, row of coefficients, d) for each token and column.
template <class Visit>
void for_each_column(const StreamShape& shape, const Visit& visit) {
  for (int64_t token = 0; token < shape.tokens; ++token) {
    for (int64_t d = 0; d < shape.width; ++d) visit(token, shape.per_token ? token : 0, d);
  }
}

struct WriteReadResult {
  Sum X_out, m;
};

inline WriteReadResult write_read_reference(const StreamInputs& in) {
  const int64_t n = in.shape.streams, D = in.shape.width;
  WriteReadResult out{Sum(in.wide()), Sum(in.narrow())};
  for_each_column(in.shape, [&](int64_t token, int64_t row, int64_t d) {
    for (int64_t s = 0; s < n; ++s) {
      const int64_t at = (token * n + s) * D + d;
      const auto term = [&](double x) {
        out.X_out.add(at, x);
        out.m.add(token * D + d, in.w[size_t(row * n + s)] * x);
      };
      term(in.c[size_t(row * n + s)] * in.f[size_t(token * D + d)]);
      for (int64_t t = 0; t < n; ++t) term(in.H[size_t((row * n + s) * n + t)] * in.X[size_t((token * n + t) * D + d)]);
    }
  });
  return out;
}

struct WriteReadGradients {
  Sum X, f, H, c, w;
};

// X_out as the kernel gets it (rounded to the element type).
inline WriteReadGradients write_read_gradients(const StreamInputs& in, const Numbers& X_out, bool with_read) {
  const int64_t n = in.shape.streams, D = in.shape.width, rows = in.rows();
  WriteReadGradients g{Sum(in.wide()), Sum(in.narrow()), Sum(rows * n * n), Sum(rows * n), Sum(rows * n)};
  for_each_column(in.shape, [&](int64_t token, int64_t row, int64_t d) {
    const size_t narrow = size_t(token * D + d);
    for (int64_t s = 0; s < n; ++s) {
      const size_t wide = size_t((token * n + s) * D + d), coefficient = size_t(row * n + s);
      const auto flow = [&](double dy) {  // a part of the gradient of X'[s]
        g.f.add(int64_t(narrow), in.c[coefficient] * dy);
        g.c.add(int64_t(coefficient), in.f[narrow] * dy);
        for (int64_t t = 0; t < n; ++t) {
          const int64_t x = (token * n + t) * D + d, h = int64_t(coefficient) * n + t;
          g.X.add(x, in.H[size_t(h)] * dy);
          g.H.add(h, in.X[size_t(x)] * dy);
        }
      };
      flow(in.dX_out[wide]);
      if (!with_read) continue;
      flow(in.w[coefficient] * in.dm[narrow]);
      g.w.add(int64_t(coefficient), in.dm[narrow] * X_out[wide]);
    }
  });
  return g;
}

inline Sum read_reference(const StreamInputs& in) {
  const int64_t n = in.shape.streams, D = in.shape.width;
  Sum m(in.narrow());
  for_each_column(in.shape, [&](int64_t token, int64_t row, int64_t d) {
    for (int64_t t = 0; t < n; ++t) {
      m.add(token * D + d, in.w[size_t(row * n + t)] * in.X[size_t((token * n + t) * D + d)]);
    }
  });
  return m;
}

struct ReadGradients {
  Sum X, w;
};

// `before` is what dX holds already, or empty.
inline ReadGradients read_gradients(const StreamInputs& in, const Numbers& before) {
  const int64_t n = in.shape.streams, D = in.shape.width;
  ReadGradients g{Sum(in.wide()), Sum(in.rows() * n)};
  for_each_column(in.shape, [&](int64_t token, int64_t row, int64_t d) {
    for (int64_t t = 0; t < n; ++t) {
      const int64_t at = (token * n + t) * D + d;
      if (!before.empty()) g.X.add(at, before[size_t(at)]);
      g.X.add(at, in.w[size_t(row * n + t)] * in.dm[size_t(token * D + d)]);
      g.w.add(row * n + t, in.X[size_t(at)] * in.dm[size_t(token * D + d)]);
    }
  });
  return g;
}

}  // namespace braid::kernels::test
