// SPDX-License-Identifier: Apache-2.0
// How far stream-mixing matrices, and their product H_L-1 ... H_0, are from keeping a signal's size.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace braid {

// Of the product. Amax gains are those of mHC, arXiv 2512.24880 section 3.1; ideal 1.
struct Gain {
  double log10_max_entry = 0;  // log10 of the largest |entry|, at least 1e-12 (softwarewrighter/mHC-poc's gain proxy)
  double amax_forward = 0;     // largest |row sum|
  double amax_backward = 0;    // largest |column sum|
  double log_column_sum = 0;   // largest |ln |column sum||, ideal 0
  // [L], of H_l ... H_0; of amax_backward, of H_L-1 ... H_l, through which a gradient comes.
  std::vector<double> log10_max_entry_by_layer, amax_forward_by_layer, amax_backward_by_layer, log_column_sum_by_layer;
};

// mixing [L, S, S]; NaN and infinity show in the result.
Gain composite_gain(const at::Tensor& mixing);

// Of each matrix by itself, [L].
struct SingleGains {
  std::vector<double> amax_forward, amax_backward;
  // Modulus of the second largest eigenvalue: what is left per layer of differences between streams. 0 of one stream.
  std::vector<double> second_eigenvalue;
};
SingleGains single_gains(const at::Tensor& mixing);

}  // namespace braid
