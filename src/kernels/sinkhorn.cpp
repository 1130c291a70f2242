// SPDX-License-Identifier: Apache-2.0
#include "kernels/sinkhorn.h"

#include <cmath>
#include <vector>

#include "base/error.h"
#include "kernels/sinkhorn_cuda.h"

namespace braid::kernels {

namespace {

// One S x S matrix; a model has a few dozen, so plain loops do. With coefficients per token there are thousands:
// matrices are shared out among threads, which changes no result.
constexpr int64_t few = 64;

template <class A>
class Matrix {
 public:
  Matrix(A* entries, int64_t size) : m_(entries), n_(size) {}

  // The i-th line: a row, or a column.
  A& at(bool rows, int64_t line, int64_t i) { return rows ? m_[line * n_ + i] : m_[i * n_ + line]; }

  // Divides each line by max(its sum, floor); remembers the sums.
  void normalise(bool rows, A* sums) {
    for (int64_t line = 0; line < n_; ++line) {
      A sum = 0;
      for (int64_t i = 0; i < n_; ++i) sum += at(rows, line, i);
      sums[line] = sum;
      // Written so that NaN stays NaN.
      const A divisor = sum < floor_ ? floor_ : sum;
      for (int64_t i = 0; i < n_; ++i) at(rows, line, i) /= divisor;
    }
  }

  // Backward of normalise in place: from gradient and values after it to those before it.
  void undo(bool rows, const A* sums, Matrix& gradient) {
    for (int64_t line = 0; line < n_; ++line) {
      const bool clamped = sums[line] < floor_;
      const A divisor = clamped ? floor_ : sums[line];
      A dot = 0;
      for (int64_t i = 0; i < n_; ++i) dot += gradient.at(rows, line, i) * at(rows, line, i);
      for (int64_t i = 0; i < n_; ++i) {
        A& g = gradient.at(rows, line, i);
        g = (clamped ? g : g - dot) / divisor;
        at(rows, line, i) *= divisor;
      }
    }
  }

 private:
  static constexpr A floor_ = A(1e-12);
  A* m_;
  int64_t n_;
};

template <class A>
void project(const SinkhornShape& shape, const A* logits, A* out, A* sums) {
  const int64_t n = shape.streams;
  for (int64_t i = 0; i < n * n; ++i) out[i] = std::exp(logits[i]);
  Matrix<A> m(out, n);
  const bool rows_first = shape.order == SinkhornOrder::row_then_column;
  for (int64_t k = 0; k < shape.iterations; ++k) {
    m.normalise(rows_first, sums + 2 * k * n);
    m.normalise(!rows_first, sums + (2 * k + 1) * n);
  }
}

template <class A>
void forward(const SinkhornShape& shape, const A* logits, A* H) {
  const int64_t n = shape.streams;
#pragma omp parallel if (shape.matrices >= few)
  {
    std::vector<A> sums(static_cast<size_t>(2 * shape.iterations * n));
#pragma omp for schedule(static)
    for (int64_t i = 0; i < shape.matrices; ++i) project(shape, logits + i * n * n, H + i * n * n, sums.data());
  }
}

// One matrix. The iterates are recomputed and then multiplied back, last to first; only the line sums are kept.
template <class A>
void undo(const SinkhornShape& shape, const A* logits, const A* dH, A* dlogits, A* values, A* sums) {
  const int64_t n = shape.streams;
  const bool rows_first = shape.order == SinkhornOrder::row_then_column;
  project(shape, logits, values, sums);
  for (int64_t j = 0; j < n * n; ++j) dlogits[j] = dH[j];
  Matrix<A> value(values, n), gradient(dlogits, n);
  for (int64_t k = shape.iterations; k-- > 0;) {
    value.undo(!rows_first, sums + (2 * k + 1) * n, gradient);
    value.undo(rows_first, sums + 2 * k * n, gradient);
  }
  for (int64_t j = 0; j < n * n; ++j) dlogits[j] *= std::exp(logits[j]);
}

template <class A>
void backward(const SinkhornShape& shape, const A* logits, const A* dH, A* dlogits) {
  const int64_t n = shape.streams;
#pragma omp parallel if (shape.matrices >= few)
  {
    std::vector<A> sums(static_cast<size_t>(2 * shape.iterations * n)), values(static_cast<size_t>(n * n));
#pragma omp for schedule(static)
    for (int64_t i = 0; i < shape.matrices; ++i) {
      const int64_t at = i * n * n;
      undo(shape, logits + at, dH + at, dlogits + at, values.data(), sums.data());
    }
  }
}

void check(const SinkhornShape& shape, Element element) {
  if (shape.streams < 1 || shape.streams > 8)
    throw Error(str("Sinkhorn: expected 1 to 8 streams, got ", shape.streams));
  if (element == Element::bfloat16) throw Error("Sinkhorn: coefficients are fp32, never bf16");
}

}  // namespace

void sinkhorn(Launch launch, SinkhornShape shape, Element element, const void* logits, void* H) {
  check(shape, element);
  if (launch.place == Place::cuda) return sinkhorn_cuda(launch, shape, element, logits, H);
  if (element == Element::float64) return forward(shape, static_cast<const double*>(logits), static_cast<double*>(H));
  forward(shape, static_cast<const float*>(logits), static_cast<float*>(H));
}

void sinkhorn_backward(Launch launch, SinkhornShape shape, Element element, const void* logits, const void* dH,
                       void* dlogits) {
  check(shape, element);
  if (launch.place == Place::cuda) return sinkhorn_backward_cuda(launch, shape, element, logits, dH, dlogits);
  if (element == Element::float64) {
    return backward(shape, static_cast<const double*>(logits), static_cast<const double*>(dH),
                    static_cast<double*>(dlogits));
  }
  backward(shape, static_cast<const float*>(logits), static_cast<const float*>(dH), static_cast<float*>(dlogits));
}

}  // namespace braid::kernels
