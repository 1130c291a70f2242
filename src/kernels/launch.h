// SPDX-License-Identifier: Apache-2.0
// Where a kernel runs and what its elements are. Kernels take pointers and know nothing of tensors or ranks.
#pragma once

namespace braid::kernels {

enum class Element { float32, bfloat16, float64 };  // float64 is the reference in tests
enum class Place { cpu, cuda };

struct Launch {
  Place place = Place::cpu;
  void* stream = nullptr;  // CUDA stream, ignored on the CPU
};

}  // namespace braid::kernels
