// SPDX-License-Identifier: Apache-2.0
#include "kernels/decode_step.h"

#include <omp.h>

#include <algorithm>
#include <atomic>

#include "base/error.h"
#include "kernels/add_norm.h"
#include "kernels/decode_parts.h"
#include "kernels/decode_step_cuda.h"
#include "kernels/nf4_product.h"
#include "kernels/skinny_product.h"

namespace braid::kernels {

namespace {

// Where threads of a region wait for one another. They are seldom far apart, so they look for about a millisecond before
// they sleep; at once where there are more of them than processors.
class Meeting {
 public:
  void arrive(int64_t threads) {
    const int32_t round = round_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads) {
      arrived_.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
      round_.notify_all();
      return;
    }
    for (int look = threads > processors_ ? 0 : 25000; look > 0; --look) {
      if (round_.load(std::memory_order_acquire) != round) return;
      __builtin_ia32_pause();
    }
    round_.wait(round, std::memory_order_acquire);
  }

 private:
  int64_t processors_ = omp_get_num_procs();
  alignas(64) std::atomic<int32_t> arrived_{0};
  alignas(64) std::atomic<int32_t> round_{0};  // of 32 bits, so that waiting is one call of the system
};

int64_t size_of(Element element) { return element == Element::bfloat16 ? 2 : 4; }

// The most that low-rank terms of one matrix need for a row of the step.
struct TermSizes {
  int64_t ranks = 0;  // of all of them together
  int64_t rows = 0;   // of one
};

TermSizes sizes_of_terms(const std::vector<DecodeLayer>& layers) {
  TermSizes most;
  for (const DecodeLayer& layer : layers) {
    for (const DecodeMatrix* matrix : {&layer.qkv, &layer.out, &layer.gate_and_up, &layer.down}) {
      int64_t ranks = 0;
      for (const DecodeTerm& term : matrix->terms) ranks += term.rank, most.rows = std::max(most.rows, term.rows);
      most.ranks = std::max(most.ranks, ranks);
    }
  }
  return most;
}

// What all threads see of a layer: what the next phase reads, [R, …] each.
struct Shared {
  Shared(const DecodeShape& s, int64_t size, const TermSizes& terms)
      : packed(s.rows * (s.heads + 2 * s.key_value_heads) * s.head_width * size),
        attended(s.rows * s.heads * s.head_width * size),
        added(s.rows * s.width * size),
        inner(2 * s.rows * s.mlp_width * size),
        gated(s.rows * s.mlp_width * size),
        low(s.rows * terms.ranks * size) {}
  std::vector<std::byte> packed, attended, added, inner, gated, low;
};

// A thread's work. Each has the residual stream and its norm to itself: making them again costs less than meeting once more.
class Worker {
 public:
  Worker(Element element, const DecodeShape& shape, const TermSizes& terms, Shared& shared, Meeting& meeting, const float* x)
      : element_(element), s_(shape), shared_(shared), meeting_(meeting), x_(x, x + shape.rows * shape.width),
        normal_(size_t(shape.rows * shape.width * size_of(element))), rstd_(size_t(shape.rows)),
        term_(size_t(shape.rows * terms.rows * size_of(element))) {}

  void be(DecodeThread thread) { thread_ = thread; }

  void run(const DecodeLayer& layer, int64_t number, const float* cosine, const float* sine, const DecodeAttention& attention) {
    normalise(layer.norm1, number == 0 ? nullptr : shared_.added.data());
    lower(layer.qkv, normal_.data());
    project_heads(layer.qkv, cosine, sine);
    meet();
    if (attention.store) {
      attention.store(number, shared_.packed.data(), thread_);
      meet();
    }
    attention.attend(number, shared_.packed.data(), shared_.attended.data(), thread_);
    meet();
    lower(layer.out, shared_.attended.data());
    multiply(layer.out, shared_.attended.data(), shared_.added.data(), share(s_.width));
    meet();
    normalise(layer.norm2, shared_.added.data());
    lower(layer.gate_and_up, normal_.data());
    feed(layer.gate_and_up);
    meet();
    lower(layer.down, shared_.gated.data());
    multiply(layer.down, shared_.gated.data(), shared_.added.data(), share(s_.width));
    meet();
  }

  // The last layer's output, by one thread.
  void finish(float* x) const {
    for (int64_t i = 0; i < s_.rows * s_.width; ++i) x[i] = x_[size_t(i)] + added_at(i);
  }

 private:
  void meet() { meeting_.arrive(thread_.count); }

  struct Range {
    int64_t first, end;
  };
  Range share(int64_t count) const {
    return {count * thread_.index / thread_.count, count * (thread_.index + 1) / thread_.count};
  }

  float added_at(int64_t i) const {
    if (element_ == Element::float32) return reinterpret_cast<const float*>(shared_.added.data())[i];
    const uint32_t bits = uint32_t{reinterpret_cast<const uint16_t*>(shared_.added.data())[i]} << 16;
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
  }

  void normalise(const float* weight, const std::byte* added) {
    add_norm_alone({s_.rows, s_.width, s_.epsilon}, element_, x_.data(), added, weight, nullptr, x_.data(), normal_.data(),
                   nullptr, rstd_.data());
  }

  // scale A in of the matrix' terms, which all threads then need: [R, rank] of one after the other.
  void lower(const DecodeMatrix& w, const std::byte* in) {
    if (w.terms.empty()) return;
    std::byte* low = shared_.low.data();
    for (const DecodeTerm& term : w.terms) {
      const Range own = share(term.rank);
      skinny_product_part(element_, {s_.rows, w.columns, term.rank}, in, term.a, low, own.first, own.end);
      for (int64_t r = 0; r < s_.rows; ++r) {
        multiply_by(element_, own.end - own.first, term.scale, low + (r * term.rank + own.first) * size_of(element_));
      }
      low += s_.rows * term.rank * size_of(element_);
    }
    meet();
  }

  // Of y [R, W.rows] = in W^T, and what the terms add to it, the columns of a range.
  void multiply(const DecodeMatrix& w, const std::byte* in, std::byte* y, Range range) {
    multiply_base(w, in, y, range);
    const std::byte* low = shared_.low.data();
    for (const DecodeTerm& term : w.terms) {
      add_rows_of(term, low, y + term.first_row * size_of(element_), w.rows, range);
      low += s_.rows * term.rank * size_of(element_);
    }
  }

  // y of the term's first row, `stride` elements further for the next row of the step.
  void add_rows_of(const DecodeTerm& term, const std::byte* low, std::byte* y, int64_t stride, Range range) {
    const int64_t first = std::max(range.first - term.first_row, int64_t{0});
    const int64_t end = std::min(range.end - term.first_row, term.rows), size = size_of(element_);
    if (first >= end) return;
    skinny_product_part(element_, {s_.rows, term.rank, term.rows}, low, term.b, term_.data(), first, end);
    for (int64_t r = 0; r < s_.rows; ++r) {
      add_term(element_, end - first, term_.data() + (r * term.rows + first) * size, y + (r * stride + first) * size);
    }
  }

  void multiply_base(const DecodeMatrix& w, const std::byte* in, std::byte* y, Range range) const {
    if (w.dense) {
      return skinny_product_part(element_, {s_.rows, w.columns, w.rows}, in, w.dense, y, range.first, range.end);
    }
    int64_t before = 0;
    for (const Nf4Matrix& part : w.quantised) {
      const int64_t first = std::max(range.first - before, int64_t{0}), end = std::min(range.end - before, part.rows);
      if (first < end) {
        nf4_product_part(part, s_.rows, element_, in, y + before * size_of(element_), w.rows, first, end);
      }
      before += part.rows;
    }
  }

  // Whole heads, so that they are turned where they were computed.
  void project_heads(const DecodeMatrix& qkv, const float* cosine, const float* sine) {
    const Range heads = share(s_.heads + 2 * s_.key_value_heads);
    multiply(qkv, normal_.data(), shared_.packed.data(), {heads.first * s_.head_width, heads.end * s_.head_width});
    const int64_t turned = std::min(heads.end, s_.heads + s_.key_value_heads) - heads.first;
    if (turned <= 0) return;
    turn_heads(element_, {s_.rows, turned, s_.head_width, qkv.rows}, cosine, sine,
               shared_.packed.data() + heads.first * s_.head_width * size_of(element_));
  }

  // A thread's rows of the gate and the same ones of the other half.
  void feed(const DecodeMatrix& gate_and_up) {
    const Range own = share(s_.mlp_width);
    const int64_t size = size_of(element_), count = own.end - own.first;
    multiply(gate_and_up, normal_.data(), shared_.inner.data(), own);
    multiply(gate_and_up, normal_.data(), shared_.inner.data(), {s_.mlp_width + own.first, s_.mlp_width + own.end});
    for (int64_t r = 0; r < s_.rows; ++r) {
      const std::byte* const its = shared_.inner.data() + (2 * r * s_.mlp_width + own.first) * size;
      gate(element_, count, its, its + s_.mlp_width * size, shared_.gated.data() + (r * s_.mlp_width + own.first) * size);
    }
  }

  Element element_;
  const DecodeShape& s_;
  DecodeThread thread_{0, 1};
  Shared& shared_;
  Meeting& meeting_;
  std::vector<float> x_;
  std::vector<std::byte> normal_;
  std::vector<float> rstd_;
  std::vector<std::byte> term_;
};

}  // namespace

void decode_step(Launch launch, Element element, const DecodeShape& shape, const std::vector<DecodeLayer>& layers,
                 const float* cosine, const float* sine, const DecodeAttention& attention, float* x, void* scratch) {
  if (element == Element::float64) throw Error("a decode step is of float32 or bfloat16, not of float64");
  if (shape.rows == 0 || layers.empty()) return;
  if (launch.place == Place::cuda) {
    return decode_step_cuda(launch, element, shape, layers, cosine, sine, attention, x, scratch);
  }
  // All memory is taken before the region, which no exception may leave.
  const TermSizes terms = sizes_of_terms(layers);
  Shared shared(shape, size_of(element), terms);
  Meeting meeting;
  std::vector<Worker> workers(static_cast<size_t>(omp_get_max_threads()), Worker(element, shape, terms, shared, meeting, x));
#pragma omp parallel
  {
    const DecodeThread thread{omp_get_thread_num(), omp_get_num_threads()};
    Worker& worker = workers[static_cast<size_t>(thread.index)];
    worker.be(thread);
    for (size_t number = 0; number < layers.size(); ++number) {
      worker.run(layers[number], static_cast<int64_t>(number), cosine, sine, attention);
    }
    if (thread.index == 0) worker.finish(x);
  }
}

int64_t decode_scratch_bytes(Launch launch, Element element, const DecodeShape& shape) {
  return launch.place == Place::cuda ? decode_scratch_bytes_cuda(element, shape) : 0;
}

}  // namespace braid::kernels
