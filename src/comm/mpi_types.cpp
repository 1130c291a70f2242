// SPDX-License-Identifier: Apache-2.0
#include "comm/mpi_types.h"

#include <cstdint>
#include <cstring>

namespace braid {

namespace {

float widen(uint16_t bits) {
  const uint32_t word = uint32_t{bits} << 16;
  float value;
  std::memcpy(&value, &word, 4);
  return value;
}

// Round to nearest even; NaN stays NaN. Both are computed and one chosen, so that a loop of it becomes vector code.
uint16_t narrow(float value) {
  uint32_t word;
  std::memcpy(&word, &value, 4);
  const uint32_t nan = (word >> 16) | 0x40u, rounded = (word + 0x7fffu + ((word >> 16) & 1u)) >> 16;
  return static_cast<uint16_t>(value != value ? nan : rounded);
}

template <class Combine>
void combine_bf16(void* in, void* inout, int* count, const Combine& combine) {
  const auto* a = static_cast<const uint16_t*>(in);
  auto* b = static_cast<uint16_t*>(inout);
  for (int i = 0; i < *count; ++i) b[i] = narrow(combine(widen(a[i]), widen(b[i])));
}

// Of the three the one that matters: compiled for several instruction sets, the best of the machine is taken.
__attribute__((target_clones("arch=skylake-avx512", "avx2", "default"), optimize("O3")))  //
void sum_arrays_bf16(const uint16_t* __restrict a, uint16_t* __restrict b, int count) {
  for (int i = 0; i < count; ++i) b[i] = narrow(widen(a[i]) + widen(b[i]));
}

void sum_bf16(void* in, void* inout, int* count, MPI_Datatype*) {
  sum_arrays_bf16(static_cast<const uint16_t*>(in), static_cast<uint16_t*>(inout), *count);
}
void max_bf16(void* in, void* inout, int* count, MPI_Datatype*) {
  combine_bf16(in, inout, count, [](float a, float b) { return a > b || a != a ? a : b; });
}
void min_bf16(void* in, void* inout, int* count, MPI_Datatype*) {
  combine_bf16(in, inout, count, [](float a, float b) { return a < b || a != a ? a : b; });
}

__attribute__((target_clones("arch=skylake-avx512", "avx2", "default"), optimize("O3")))  //
void sum_arrays(const float* __restrict a, float* __restrict b, int count) {
  for (int i = 0; i < count; ++i) b[i] += a[i];
}

}  // namespace

MPI_Datatype mpi_type(Dtype dtype) {
  switch (dtype) {
    case Dtype::float32: return MPI_FLOAT;
    case Dtype::float64: return MPI_DOUBLE;
    case Dtype::bfloat16: return MPI_UINT16_T;
    case Dtype::int64: return MPI_INT64_T;
    case Dtype::uint8: return MPI_UINT8_T;
  }
  return MPI_DATATYPE_NULL;
}

Bf16Ops::Bf16Ops() {
  MPI_Op_create(sum_bf16, 1, &sum_);
  MPI_Op_create(max_bf16, 1, &max_);
  MPI_Op_create(min_bf16, 1, &min_);
}

Bf16Ops::~Bf16Ops() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (finalized) return;
  for (MPI_Op* op : {&sum_, &max_, &min_}) MPI_Op_free(op);
}

bool has_sum(Dtype dtype) { return dtype == Dtype::float32 || dtype == Dtype::bfloat16; }

void add_elements(Dtype dtype, const std::byte* a, std::byte* b, int count) {
  if (dtype == Dtype::bfloat16) {
    sum_arrays_bf16(reinterpret_cast<const uint16_t*>(a), reinterpret_cast<uint16_t*>(b), count);
  } else {
    sum_arrays(reinterpret_cast<const float*>(a), reinterpret_cast<float*>(b), count);
  }
}

}  // namespace braid
