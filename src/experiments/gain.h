// SPDX-License-Identifier: Apache-2.0
// How far the product of a model's stream-mixing matrices H_L-1 ... H_0 is from keeping a signal's size.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "nn/residual.h"
#include "train/run_recorder.h"

namespace braid {

struct Gain {
  double log10_max_entry = 0;  // log10 of the largest |entry|, at least 1e-12 (softwarewrighter/mHC-poc's gain proxy)
  double amax_forward = 0;     // largest |row sum| (mHC, arXiv 2512.24880 section 3.1), ideal 1
  double amax_backward = 0;    // largest |column sum|
  std::vector<double> log10_max_entry_by_layer;  // [L]: of H_l ... H_0
};

// mixing [L, S, S]; NaN and infinity show in the result.
Gain composite_gain(const at::Tensor& mixing);

// For a model with streams: columns of /train and /layers/gain_proxy_log10_max_entry. Without streams the proxy is 0, as
// that program writes it, and there is nothing by layer.
ExtraMetrics gain_metrics(ResidualConnection& residual, bool has_streams);

}  // namespace braid
