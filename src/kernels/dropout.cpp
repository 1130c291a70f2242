// SPDX-License-Identifier: Apache-2.0
#include "kernels/dropout.h"

#include <cmath>

#include "base/philox.h"
#include "kernels/dropout_cuda.h"

namespace braid::kernels {

namespace {

struct BFloat16 {
  uint16_t bits;
};

float widen(BFloat16 x) {
  const uint32_t bits = uint32_t{x.bits} << 16;
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}
float widen(float x) { return x; }
double widen(double x) { return x; }

void store(float value, BFloat16& out) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  const bool nan = value != value;
  out.bits = nan ? uint16_t(bits >> 16 | 0x40) : uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
void store(float value, float& out) { out = value; }
void store(double value, double& out) { out = value; }

template <class T>
void drop(int64_t count, const DropoutKey& key, uint64_t first, const T* x, T* y) {
  using Wide = decltype(widen(T{}));
  const uint64_t limit = uint64_t(std::ceil(key.rate * 0x1p32));
  const Wide scale = Wide(1 / (1 - key.rate));
  const int64_t groups = int64_t((first + uint64_t(count) + 3) / 4 - first / 4);
#pragma omp parallel for schedule(static)
  for (int64_t g = 0; g < groups; ++g) {
    const uint64_t group = first / 4 + uint64_t(g);
    const PhiloxCounter words =
        philox4x32_10({uint32_t(group), uint32_t(group >> 32), key.step, 0}, {key.key[0], key.key[1]});
    for (uint64_t lane = 0; lane < 4; ++lane) {
      const uint64_t element = group * 4 + lane;
      if (element < first || element - first >= uint64_t(count)) continue;
      const uint64_t i = element - first;
      store(words[lane] >= limit ? widen(x[i]) * scale : Wide(0), y[i]);
    }
  }
}

}  // namespace

void dropout(Launch launch, int64_t count, Element element, DropoutKey key, uint64_t first, const void* x, void* y) {
  if (count == 0) return;
  if (launch.place == Place::cuda) return dropout_cuda(launch, count, element, key, first, x, y);
  switch (element) {
    case Element::float32: return drop(count, key, first, static_cast<const float*>(x), static_cast<float*>(y));
    case Element::bfloat16: return drop(count, key, first, static_cast<const BFloat16*>(x), static_cast<BFloat16*>(y));
    case Element::float64: return drop(count, key, first, static_cast<const double*>(x), static_cast<double*>(y));
  }
}

}  // namespace braid::kernels
