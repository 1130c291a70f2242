// SPDX-License-Identifier: Apache-2.0
// Memory throughput of the CPU kernels beside a plain copy with as many threads and as large a footprint, the limit of
// a kernel that passes over memory once. Arguments of the stream kernels: tokens, streams, width, element (0 float32, 1
// bfloat16), threads. Bytes are those that the kernel must read and write, without the cache lines fetched before they
// are overwritten. BRAID_CPU_LEVEL picks the instruction set.
#include <benchmark/benchmark.h>
#include <omp.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/cpu_level.h"
#include "kernels/cross_entropy.h"
#include "kernels/stream_mix.h"

namespace braid::kernels {
namespace {

// `count` elements that are small normal numbers in float32 and in bfloat16 alike.
std::vector<float> numbers(int64_t count) {
  std::mt19937 generator(1);
  std::uniform_real_distribution<float> uniform(0.5f, 1.0f);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& x : values) x = uniform(generator);
  std::vector<uint16_t> upper(2 * values.size());
  std::memcpy(upper.data(), values.data(), 4 * values.size());
  for (size_t i = 0; i < upper.size(); i += 2)
    upper[i] = uint16_t((upper[i] & 0x007f) | 0x3f00);  // also a bf16 in [0.5, 1)
  std::memcpy(values.data(), upper.data(), 4 * values.size());
  return values;
}

struct StreamCase {
  StreamShape shape;
  Element element;
  int64_t narrow, wide;  // bytes of [M, D] and of [M, S, D]
  std::vector<float> X, X_out, dX_out, f, m, coefficients, gradients;

  explicit StreamCase(const benchmark::State& state)
      : shape{state.range(0), state.range(1), state.range(2)},
        element(state.range(3) ? Element::bfloat16 : Element::float32),
        narrow(shape.tokens * shape.width * (state.range(3) ? 2 : 4)),
        wide(narrow * shape.streams),
        X(numbers(wide / 4)),
        X_out(X),
        dX_out(X),
        f(numbers(narrow / 4)),
        m(f),
        coefficients(numbers(80)),
        gradients(80) {
    omp_set_num_threads(int(state.range(4)));
  }

  const float* H() const { return coefficients.data(); }
  const float* c() const { return H() + 64; }
  const float* w() const { return H() + 72; }
};

void report_bytes(benchmark::State& state, int64_t bytes) {
  state.SetBytesProcessed(state.iterations() * bytes);
  state.SetLabel(name_of(chosen_cpu_level()));
}

// Reads X, f; writes X', m'.
void write_read(benchmark::State& state) {
  StreamCase k(state);
  for (auto _ : state) {
    stream_write_read({}, k.shape, k.element, k.X.data(), k.H(), k.c(), k.f.data(), k.w(), k.X_out.data(), k.m.data());
  }
  report_bytes(state, 2 * k.wide + 2 * k.narrow);
}

// Reads X, X', dX', f, dm'; writes dX and df.
void write_read_backward(benchmark::State& state) {
  StreamCase k(state);
  std::vector<float> df(k.f), dX(k.X);
  float* const g = k.gradients.data();
  for (auto _ : state) {
    stream_write_read_backward({}, k.shape, k.element, k.X.data(), k.H(), k.c(), k.f.data(), k.w(), k.X_out.data(),
                               k.dX_out.data(), k.m.data(), dX.data(), df.data(), g, g + 64, g + 72);
  }
  report_bytes(state, 4 * k.wide + 3 * k.narrow);
}

// A copy that reads and writes `bytes` in all.
void copy(benchmark::State& state, int64_t bytes, int64_t threads) {
  const std::vector<float> from = numbers(bytes / 8);
  std::vector<float> to(from.size());
  const int64_t count = int64_t(from.size());
  for (auto _ : state) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < threads; ++i) {
      const int64_t first = count * i / threads, end = count * (i + 1) / threads;
      std::memcpy(to.data() + first, from.data() + first, size_t(end - first) * 4);
    }
    benchmark::ClobberMemory();
  }
  report_bytes(state, bytes);
}
void write_read_copy(benchmark::State& state) {
  const StreamCase k(state);
  copy(state, 2 * k.wide + 2 * k.narrow, state.range(4));
}
void write_read_backward_copy(benchmark::State& state) {
  const StreamCase k(state);
  copy(state, 4 * k.wide + 3 * k.narrow, state.range(4));
}

void stream_arguments(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"M", "S", "D", "bf16", "threads"})->UseRealTime();
  for (const int64_t bf16 : {0, 1}) {
    for (const int64_t threads : {1, 2}) {
      bench->Args({2048, 4, 128, bf16, threads})->Args({4096, 4, 256, bf16, threads});
    }
  }
}
BENCHMARK(write_read_copy)->Apply(stream_arguments);
BENCHMARK(write_read)->Apply(stream_arguments);
BENCHMARK(write_read_backward_copy)->Apply(stream_arguments);
BENCHMARK(write_read_backward)->Apply(stream_arguments);

// Arguments: rows, vocabulary, element, threads. Loss and gradient, into a second array so that each round sees the
// same.
void cross_entropy_rows(benchmark::State& state) {
  const int64_t rows = state.range(0), vocabulary = state.range(1),
                bytes = rows * vocabulary * (state.range(2) ? 2 : 4);
  const std::vector<float> logits = numbers(bytes / 4);
  std::vector<float> gradient(logits.size());
  const std::vector<int64_t> targets(size_t(rows), 1);
  omp_set_num_threads(int(state.range(3)));
  LossSums sums;
  for (auto _ : state) {
    cross_entropy({}, state.range(2) ? Element::bfloat16 : Element::float32, rows, vocabulary, logits.data(),
                  targets.data(), 1.0, &sums, gradient.data());
  }
  report_bytes(state, 2 * bytes);
  state.SetItemsProcessed(state.iterations() * rows);
}
BENCHMARK(cross_entropy_rows)
    ->ArgNames({"rows", "V", "bf16", "threads"})
    ->UseRealTime()
    ->ArgsProduct({{4096}, {256}, {0, 1}, {1, 2}})
    ->ArgsProduct({{256}, {32768}, {0, 1}, {1, 2}});

}  // namespace
}  // namespace braid::kernels

BENCHMARK_MAIN();
