// SPDX-License-Identifier: Apache-2.0
// The CUDA code of a decode step, run on the host by threads that take turns (simulated/kernels/cuda_launch.cuh): the same
// cases as on a GPU in row_products_test.cpp, in smaller shapes. Norms, which have tests of their own, are the CPU's.
#if BRAID_CUDA
#include "kernels/add_norm.h"
#include "support.h"

#define add_norm_cuda simulated_add_norm
#define row_product_cuda simulated_row_product
#define gated_product_cuda simulated_gated_product
#define turned_product_cuda simulated_turned_product
#define decode_step_cuda simulated_decode_step
#define decode_scratch_bytes_cuda simulated_decode_scratch_bytes
#define store_paged_cuda simulated_store_paged
#define paged_attention_cuda simulated_paged_attention
#define paged_scratch_bytes_cuda simulated_paged_scratch_bytes

#include "kernels/cuda_launch.cuh"

#include "kernels/decode_step.cu"
#include "kernels/paged_attention.cu"
#include "kernels/row_products.cu"

#include "decode_cases.h"

namespace braid::kernels {

void add_norm_cuda(Launch, NormShape shape, Element element, const void* x, const void* f, const void* weight, const void* bias,
                   void* u, void* y, void* mean, void* rstd) {
  add_norm({}, shape, element, x, f, weight, bias, u, y, mean, rstd);
}

namespace {

using namespace test;

const Twin host{{Place::cpu},  row_product_cuda,          gated_product_cuda, turned_product_cuda,  decode_step_cuda,
                decode_scratch_bytes_cuda, store_paged_cuda, paged_attention_cuda, paged_scratch_bytes_cuda};

// Threads take their turns from the first to the last, then the other way round.
class SimulatedDevice : public testing::TestWithParam<bool> {
 protected:
  SimulatedDevice() { simulated::backwards = GetParam(); }
};

template <class E>
void expect_all_products() {
  expect_products<E>(host, {24, 192, {}}, 1, 8);
  expect_products<E>(host, {24, 1088, {}}, 3, 4);
  expect_products<E>(host, {16, 33, {}}, 5, 8);
  expect_products<E>(host, {24, 64, {}}, 9, 8);
  expect_products<E>(host, {24, 192, {24}}, 1, 8);
  expect_products<E>(host, {24, 2112, {12, 5, 7}}, 2, 4);
}
TEST_P(SimulatedDevice, ProductsOfFewTokensAreTheSumsAndATokensBitsAreItsOwn) {
  expect_all_products<Float32>();
  expect_all_products<BFloat16>();
}

TEST_P(SimulatedDevice, ADecodeStepGivesWhatCpusGive) {
  for (const bool quantised : {false, true}) {
    expect_steps_of_cpus<Float32>(host, 1, 16, 64, quantised, 5);
    expect_steps_of_cpus<BFloat16>(host, 3, 16, 64, quantised, 0);
  }
  expect_steps_of_cpus<Float32>(host, 2, 6, 20, false, 300);
}

INSTANTIATE_TEST_SUITE_P(Turns, SimulatedDevice, testing::Bool(),
                         [](const auto& info) { return info.param ? "Backwards" : "Forwards"; });

}  // namespace
}  // namespace braid::kernels
#endif
