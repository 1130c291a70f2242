// SPDX-License-Identifier: Apache-2.0
// What the kernel tests share: fresh random numbers whose seed is printed, elements of the three types seen as doubles,
// comparison within a bound per entry, and the CPU settings that must not matter.
#pragma once

#include <gtest/gtest.h>
#include <omp.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "kernels/cpu_level.h"
#include "device_memory.h"

namespace braid::kernels::test {

using Numbers = std::vector<double>;

// BRAID_TEST_SEED repeats a run.
inline uint64_t fresh_seed() {
  const char* given = std::getenv("BRAID_TEST_SEED");
  const uint64_t seed = given ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  std::cout << "BRAID_TEST_SEED=" << seed << std::endl;
  return seed;
}

class Random {
 public:
  explicit Random(uint64_t seed = fresh_seed()) : generator_(seed) {}
  Numbers normal(int64_t count, double deviation = 1.0) {
    std::normal_distribution<double> distribution(0.0, deviation);
    Numbers values(static_cast<size_t>(count));
    for (double& x : values) x = distribution(generator_);
    return values;
  }
  int64_t below(int64_t end) { return std::uniform_int_distribution<int64_t>(0, end - 1)(generator_); }

 private:
  std::mt19937_64 generator_;
};

// Round to nearest, ties to even.
inline uint16_t to_bf16(float x) {
  if (std::isnan(x)) return 0x7fc0;
  const uint32_t bits = std::bit_cast<uint32_t>(x), low = bits & 0xffff0000u;
  const uint32_t below = bits & 0xffffu;
  const bool up = below > 0x8000u || (below == 0x8000u && (low & 0x10000u) != 0);
  return uint16_t((up ? low + 0x10000u : low) >> 16);
}
inline double from_bf16(uint16_t bits) { return std::bit_cast<float>(uint32_t(bits) << 16); }

// How each Element is held, what its coefficients are, and its rounding: relative error of a stored value, and of one
// operation on the way to it.
struct Float32 {
  using Stored = float;
  using Coefficient = float;
  static constexpr Element element = Element::float32;
  static constexpr double storage = 0x1p-24, operation = 0x1p-24;
  static Stored store(double x) { return float(x); }
  static double value(Stored x) { return x; }
};
struct BFloat16 {
  using Stored = uint16_t;
  using Coefficient = float;
  static constexpr Element element = Element::bfloat16;
  static constexpr double storage = 0x1p-8, operation = 0x1p-24;
  static Stored store(double x) { return to_bf16(float(x)); }
  static double value(Stored x) { return from_bf16(x); }
};
struct Float64 {
  using Stored = double;
  using Coefficient = double;
  static constexpr Element element = Element::float64;
  static constexpr double storage = 0x1p-53, operation = 0x1p-53;
  static Stored store(double x) { return x; }
  static double value(Stored x) { return x; }
};

template <class E>
std::vector<typename E::Stored> stored(const Numbers& values) {
  std::vector<typename E::Stored> out;
  for (const double x : values) out.push_back(E::store(x));
  return out;
}
template <class E>
Numbers seen(const std::vector<typename E::Stored>& values) {
  Numbers out;
  for (const auto x : values) out.push_back(E::value(x));
  return out;
}
// The values as the kernel will see them.
template <class E>
Numbers rounded(const Numbers& values) { return seen<E>(stored<E>(values)); }
template <class A>
std::vector<A> as(const Numbers& values) { return std::vector<A>(values.begin(), values.end()); }
template <class A>
Numbers rounded_to(const Numbers& values) {
  const std::vector<A> typed = as<A>(values);
  return Numbers(typed.begin(), typed.end());
}

// |got - expected| <= bound[i] for each entry; NaN only where NaN is expected.
template <class Got>
void expect_near(const Got& got, const Numbers& expected, const Numbers& bound, const std::string& what) {
  ASSERT_EQ(got.size(), expected.size()) << what;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (std::isnan(expected[i]) && std::isnan(got[i])) continue;
    ASSERT_LE(std::abs(got[i] - expected[i]), bound[i])
        << what << "[" << i << "] is " << got[i] << ", expected " << expected[i];
  }
}

// Runs `body` once per instruction set that this processor has.
inline void at_every_level(const std::function<void()>& body) {
  for (const CpuLevel level : {CpuLevel::base, CpuLevel::avx2, CpuLevel::avx512}) {
    if (level > best_cpu_level()) continue;
    SCOPED_TRACE(name_of(level));
    setenv("BRAID_CPU_LEVEL", name_of(level), 1);
    body();
    unsetenv("BRAID_CPU_LEVEL");
  }
}

inline void with_threads(int threads, const std::function<void()>& body) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(threads);
  body();
  omp_set_num_threads(before);
}

}  // namespace braid::kernels::test
