// SPDX-License-Identifier: Apache-2.0
// NF4 against the definition written out one value at a time, at every instruction set and in the CUDA twin. The same
// bytes as bitsandbytes': parity/test_nf4.py.
#include "kernels/nf4.h"

#include <algorithm>
#include <optional>

#include "kernels/dynamic_map.h"
#include "support.h"

namespace braid::kernels {
namespace {

using namespace test;

struct Quantised {
  std::vector<uint8_t> packed;
  std::vector<float> absmax;
  bool operator==(const Quantised&) const = default;
};

template <class E>
Quantised kernel(Place place, const Numbers& x) {
  const int64_t count = int64_t(x.size());
  Placed in(place, stored<E>(x));
  Placed packed(place, std::vector<uint8_t>(size_t(nf4_bytes(count)), 0xee));
  Placed absmax(place, std::vector<float>(size_t(nf4_blocks(count)), -1.0f));
  nf4_quantise({place}, count, E::element, in.data(), packed.data(), absmax.data());
  return {packed.values(), absmax.values()};
}

int code_of(float x) {
  int code = 0;
  while (code < 15 && !(x <= (nf4_values[code] + nf4_values[code + 1]) / 2)) ++code;
  return code;
}

// Whole blocks are multiplied by 1 / absmax, a short one is divided.
Quantised defined(const Numbers& x) {
  Quantised q{std::vector<uint8_t>(size_t(nf4_bytes(int64_t(x.size()))), 0), {}};
  std::vector<int> codes;
  for (size_t first = 0; first < x.size(); first += nf4_block) {
    const size_t end = std::min(x.size(), first + nf4_block);
    float most = 0;
    for (size_t i = first; i < end; ++i) most = std::max(most, std::abs(float(x[i])));
    const bool whole = end - first == nf4_block;
    const float divisor = std::max(most, 1e-38f), scale = 1.0f / divisor;
    for (size_t i = first; i < end; ++i) codes.push_back(code_of(whole ? float(x[i]) * scale : float(x[i]) / divisor));
    q.absmax.push_back(whole ? most : divisor);
  }
  if (codes.size() % 2) codes.push_back(7);
  for (size_t i = 0; i < codes.size(); i += 2) q.packed[i / 2] = uint8_t(codes[i] << 4 | codes[i + 1]);
  return q;
}

template <class E>
void expect_definition(Place place) {
  Random random;
  for (const int64_t count : {1, 2, 31, 63, 64, 65, 127, 1000, 4096 + 17, 64 * 700}) {
    Numbers x = random.normal(count);
    for (int64_t i = 0; i < count && count > 1000; i += 3) x[size_t(i)] *= 1e-30;
    x = rounded<E>(x);
    EXPECT_TRUE((kernel<E>(place, x) == defined(x))) << count;
  }
}

TEST(Nf4, QuantisesAsDefinedInFloat32AtEveryInstructionSet) {
  at_every_level([] { expect_definition<Float32>(Place::cpu); });
}
TEST(Nf4, QuantisesAsDefinedInBFloat16AtEveryInstructionSet) {
  at_every_level([] { expect_definition<BFloat16>(Place::cpu); });
}
TEST(Nf4Gpu, QuantisesAsDefined) {
  REQUIRE_DEVICE();
  expect_definition<Float32>(Place::cuda);
  expect_definition<BFloat16>(Place::cuda);
}

// A border itself belongs to the lower code, the next number above it to the upper one.
void expect_ties_below(Place place) {
  Numbers x(64, 0.0);
  x[63] = 1.0;
  for (size_t i = 0; i < 15; ++i) {
    const float border = (nf4_values[i] + nf4_values[i + 1]) / 2;
    x[2 * i] = border;
    x[2 * i + 1] = std::nextafter(border, 2.0f);
  }
  const Quantised q = kernel<Float32>(place, x);
  for (int i = 0; i < 15; ++i) EXPECT_EQ(q.packed[size_t(i)], i << 4 | (i + 1));
}
TEST(Nf4, GivesATieToTheLowerCode) {
  at_every_level([] { expect_ties_below(Place::cpu); });
}
TEST(Nf4Gpu, GivesATieToTheLowerCode) {
  REQUIRE_DEVICE();
  expect_ties_below(Place::cuda);
}

void expect_special_blocks(Place place) {
  Numbers x(3 * 64 + 3, 0.0);
  x[64 + 5] = std::nan("");
  x[128 + 9] = INFINITY;
  const Quantised q = kernel<Float32>(place, x);
  EXPECT_EQ(q.absmax[0], 0.0f);
  EXPECT_EQ(q.packed[0], 0x77);
  EXPECT_TRUE(std::isnan(q.absmax[1]));
  EXPECT_EQ(q.packed[32], 0xff);
  EXPECT_EQ(q.absmax[2], INFINITY);
  EXPECT_EQ(q.packed[64], 0x77);
  EXPECT_EQ(q.packed[64 + 4], 0x7f);
  EXPECT_EQ(q.absmax[3], 1e-38f);  // a short block of zeros
}
TEST(Nf4, ZerosNaNAndInfinityHaveTheirCodes) {
  at_every_level([] { expect_special_blocks(Place::cpu); });
}
TEST(Nf4Gpu, ZerosNaNAndInfinityHaveTheirCodes) {
  REQUIRE_DEVICE();
  expect_special_blocks(Place::cuda);
}

// A quantised matrix in memory that kernels at `place` see.
struct Sample {
  Sample(Place where, int64_t rows, int64_t columns, bool nested)
      : place(where),
        q(kernel<Float32>(Place::cpu, Random().normal(rows * columns))),
        codes_host(q.absmax.size()),
        nested_host((q.absmax.size() + 255) / 256),
        packed(where, q.packed),
        absmax(where, q.absmax) {
    nf4_nest({Place::cpu}, int64_t(q.absmax.size()), q.absmax.data(), offset, codes_host.data(), nested_host.data());
    codes.emplace(where, codes_host);
    outer.emplace(where, nested_host);
    const auto& value = signed_dynamic_map().value;
    map.emplace(where, std::vector<float>(value.begin(), value.end()));
    matrix = {rows, columns, packed.data(), {absmax.data()}};
    if (nested) matrix.scales = {outer->data(), codes->data(), map->data(), offset};
  }

  float absmax_of(int64_t block) const {
    if (!matrix.scales.codes) return q.absmax[size_t(block)];
    const float product = signed_dynamic_map().value[codes_host[size_t(block)]] * nested_host[size_t(block / 256)];
    return product + offset;
  }
  float weight(int64_t row, int64_t column) const {
    const int64_t at = row * matrix.columns + column;
    const int byte = q.packed[size_t(at / 2)];
    return nf4_values[size_t(at % 2 ? byte & 15 : byte >> 4)] * absmax_of(at / 64);
  }

  Place place;
  float offset = 2.4f;
  Quantised q;
  std::vector<uint8_t> codes_host;
  std::vector<float> nested_host;
  Placed<uint8_t> packed;
  Placed<float> absmax;
  std::optional<Placed<uint8_t>> codes;
  std::optional<Placed<float>> outer, map;
  Nf4Matrix matrix;
};

template <class E>
void expect_weights(const Sample& sample, Rectangle box) {
  Placed out(sample.place, std::vector<typename E::Stored>(size_t(box.rows * box.columns)));
  nf4_dequantise({sample.place}, sample.matrix, box, E::element, out.data());
  const auto& got = out.values();
  for (int64_t i = 0; i < box.rows * box.columns; ++i) {
    const float weight = sample.weight(box.first_row + i / box.columns, box.first_column + i % box.columns);
    ASSERT_EQ(E::value(got[size_t(i)]), E::value(E::store(weight))) << i;
  }
}

using Shape = std::pair<int64_t, int64_t>;

// Rows of whole blocks, of half ones and of an odd length, in whole and in part.
void expect_dequantised(Place place) {
  for (const bool nested : {false, true}) {
    for (const auto& [rows, columns] : {Shape{5, 128}, Shape{300, 96}, Shape{7, 33}, Shape{2, 9000}}) {
      const Sample sample(place, rows, columns, nested);
      for (const Rectangle box : {Rectangle{0, rows, 0, columns}, Rectangle{1, rows - 1, 0, columns},
                                  Rectangle{0, rows, 32, columns - 32}, Rectangle{1, 1, 7, columns - 7}}) {
        expect_weights<Float32>(sample, box);
        expect_weights<BFloat16>(sample, box);
        expect_weights<Float64>(sample, box);
      }
    }
  }
}
TEST(Nf4, DequantisesAnyRectangleAtEveryInstructionSet) {
  at_every_level([] { expect_dequantised(Place::cpu); });
}
TEST(Nf4Gpu, DequantisesAnyRectangle) {
  REQUIRE_DEVICE();
  expect_dequantised(Place::cuda);
}

void expect_nested(Place place) {
  std::vector<float> absmax;
  for (const double x : Random().normal(256 * 3 + 40)) absmax.push_back(float(std::abs(x)));
  for (size_t i = 256; i < 512; ++i) absmax[i] = 0.75f;  // the offset: differences of 0
  Placed in(place, absmax), nested(place, std::vector<float>(4));
  Placed codes(place, std::vector<uint8_t>(absmax.size()));
  nf4_nest({place}, int64_t(absmax.size()), in.data(), 0.75f, codes.data(), nested.data());
  const auto& map = signed_dynamic_map();
  for (size_t i = 0; i < absmax.size(); ++i) {
    const float most = nested.values()[i / 256], code = codes.values()[i];
    if (i / 256 == 1) {
      EXPECT_EQ(most, 0.0f);
      EXPECT_EQ(map.value[size_t(code)], 0.0f);
      continue;
    }
    const float x = (absmax[i] - 0.75f) * (1.0f / most);
    EXPECT_LE(std::abs(x), 1.0f);
    EXPECT_EQ(code, std::lower_bound(map.border.begin(), map.border.end() - 1, x) - map.border.begin()) << i;
  }
}
TEST(Nf4, RoundsAbsmaxToTheNearestOfTheDynamicMap) {
  at_every_level([] { expect_nested(Place::cpu); });
}
TEST(Nf4Gpu, RoundsAbsmaxToTheNearestOfTheDynamicMap) {
  REQUIRE_DEVICE();
  expect_nested(Place::cuda);
}

TEST(Nf4, IsTheSameOnAnyNumberOfThreads) {
  const Numbers x = Random().normal(64 * 501 + 3);
  const Quantised one = kernel<Float32>(Place::cpu, x);
  with_threads(3, [&] { EXPECT_TRUE((kernel<Float32>(Place::cpu, x) == one)); });
}

TEST(Nf4, IsNotMadeOfDoubles) {
  double x = 1;
  uint8_t packed;
  float absmax;
  EXPECT_THROW(nf4_quantise({}, 1, Element::float64, &x, &packed, &absmax), Error);
}

}  // namespace
}  // namespace braid::kernels
