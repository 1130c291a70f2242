// SPDX-License-Identifier: Apache-2.0
// Products of few tokens and decode steps on a GPU; how rows are dealt out, anywhere. simulated_device_test.cpp runs the same
// code on the host.
#include "kernels/row_pairs.h"

#include "decode_cases.h"

namespace braid::kernels {
namespace {

using namespace test;

TEST(RowPairs, AreEachRowOnceWhateverIsPairedWithWhat) {
  for (const auto& [rows, half] : {std::pair{1, 1}, {7, 1}, {8, 1}, {96, 8}, {96, 48}, {10, 5}}) {
    std::vector<int> seen(size_t(rows) + 1);
    for (int64_t i = 0; i < pairs_of(rows); ++i) {
      const RowPair pair = row_pair(i, half);
      EXPECT_EQ(pair.second - pair.first, half);
      ASSERT_LE(pair.second, rows);
      ++seen[size_t(pair.first)], ++seen[size_t(pair.second)];
    }
    EXPECT_EQ(std::accumulate(seen.begin(), seen.begin() + rows, 0), rows);
    EXPECT_EQ(*std::max_element(seen.begin(), seen.end()), 1);
  }
}

TEST(RowPairs, HaveMoreWarpsWhereThereAreFewOfThem) {
  EXPECT_EQ(warps_of_pair(32000, 2048, 8), 1);
  EXPECT_EQ(warps_of_pair(4096, 4096, 8), 2);
  EXPECT_EQ(warps_of_pair(2048, 2048, 8), 4);
  EXPECT_EQ(warps_of_pair(2048, 2048, 16), 2);
  EXPECT_EQ(warps_of_pair(2048, 1024, 8), 2);
  EXPECT_EQ(warps_of_pair(2048, 64, 8), 1);
}

const Twin device{{Place::cuda},        row_product_cuda,          gated_product_cuda, turned_product_cuda,  decode_step_cuda,
                  decode_scratch_bytes_cuda, store_paged_cuda, paged_attention_cuda, paged_scratch_bytes_cuda};

template <class E>
void expect_all_products() {
  for (const int64_t tokens : {1, 2, 3, 4, 5, 8, 11}) {
    expect_products<E>(device, {96, 192, {}}, tokens, 8);
    expect_products<E>(device, {2048, 2048, {}}, tokens, 64);
    expect_products<E>(device, {96, 131, {}}, tokens, 8);
    expect_products<E>(device, {96, 192, {96}}, tokens, 8);
    expect_products<E>(device, {96, 1024, {48, 25, 23}}, tokens, 8);
  }
}
TEST(RowProductsGpu, AreTheSumsInFloat32AndATokensBitsAreItsOwn) {
  REQUIRE_DEVICE();
  expect_all_products<Float32>();
}
TEST(RowProductsGpu, AreTheSumsInBFloat16AndATokensBitsAreItsOwn) {
  REQUIRE_DEVICE();
  expect_all_products<BFloat16>();
}

TEST(DecodeStepGpu, GivesWhatCpusGive) {
  REQUIRE_DEVICE();
  for (const bool quantised : {false, true}) {
    for (const int64_t rows : {1, 2, 5, 8}) {
      for (const int64_t before : {0, 40, 600}) {
        expect_steps_of_cpus<Float32>(device, rows, 16, 128, quantised, before);
        expect_steps_of_cpus<BFloat16>(device, rows, 64, 320, quantised, before);
      }
    }
  }
}

}  // namespace
}  // namespace braid::kernels
