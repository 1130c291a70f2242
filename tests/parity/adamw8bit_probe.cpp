// SPDX-License-Identifier: Apache-2.0
// Runs one step of the 8-bit AdamW kernel on the tensors of a safetensors file: adamw8bit_probe step IN OUT, with weights,
// gradient, first, second (uint8), first_absmax, second_absmax, and numbers: learning rate, both betas, epsilon, weight
// decay, divisor, step.
#include <iostream>

#include "../kernels/tensor_files.h"
#include "kernels/adamw8bit.h"

namespace {

using namespace braid;

void step(test::Arrays& arrays) {
  const double* n = arrays.at("numbers").as<double>();
  const kernels::AdamWNumbers numbers{n[0], n[1], n[2], n[3], n[4], n[5], int64_t(n[6])};
  const kernels::Moments8bit moments{arrays.at("first").as<uint8_t>(), arrays.at("second").as<uint8_t>(),
                                     arrays.at("first_absmax").as<float>(), arrays.at("second_absmax").as<float>()};
  kernels::adamw8bit({}, numbers, arrays.at("weights").count(), arrays.at("weights").as<float>(),
                     arrays.at("gradient").as<float>(), moments);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  try {
    if (words.at(0) != "step") throw UsageError("unknown command " + words[0]);
    test::Arrays arrays = test::read_arrays(words.at(1));
    step(arrays);
    test::write_arrays(words.at(2), arrays);
  } catch (const std::exception& problem) {
    std::cerr << problem.what() << "\n";
    return 1;
  }
}
