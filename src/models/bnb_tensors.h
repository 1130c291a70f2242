// SPDX-License-Identifier: Apache-2.0
// A matrix in NF4 among the tensors of a model folder, as transformers and bitsandbytes write it. Of X.weight [N, K]:
//   X.weight                                packed codes, N K / 2 bytes of any type
//   X.weight.absmax                         F32 [blocks of 64], or U8 where these are quantised themselves
//   X.weight.quant_map                      F32 [16], what codes stand for
//   X.weight.nested_absmax                  F32 [blocks of 256 absmax]            where they are
//   X.weight.nested_quant_map               F32 [256]                             where they are
//   X.weight.quant_state.bitsandbytes__nf4  U8, JSON: quant_type, blocksize, dtype, shape; nested_blocksize,
//                                           nested_dtype, nested_offset           where they are
// Knows no torch, so that damaged folders can be read by the thousand.
#pragma once

#include <string>
#include <vector>

#include "models/hf_layout.h"

namespace braid {

struct BnbMatrix {
  HfFiles::Found packed, absmax;
  HfFiles::Found nested_absmax, nested_map;  // of no file where absmax are float32
  double offset = 0;                         // what the nested absmax were taken less
  std::vector<std::string> names;            // of all its tensors

  bool is_nested() const { return nested_absmax.file != nullptr; }
};

// Whether the folder has matrices that bitsandbytes quantised to 4 bits, of whatever code.
bool holds_bnb_matrices(const HfFiles& files);

// UsageError names file, tensor and what was expected.
BnbMatrix find_bnb_matrix(const HfFiles& files, const HfTensor& tensor);

// The text of X.weight.quant_state.bitsandbytes__nf4. `dtype` ("bfloat16"): the weights' before they were quantised.
std::string bnb_state_text(const Extent& shape, const std::string& dtype, const double* nested_offset);

inline constexpr const char* bnb_state_name = ".quant_state.bitsandbytes__nf4";

}  // namespace braid
