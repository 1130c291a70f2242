// SPDX-License-Identifier: Apache-2.0
// Normalisation over the last dimension, statistics in fp32 (double in the reference precision), output in compute type.
//   layer: (x - mean) / sqrt(var + eps) * weight + bias     (Ba et al., arXiv 1607.06450)
//   rms:   x / sqrt(mean(x^2) + eps) * weight               (Zhang and Sennrich, arXiv 1910.07467)
#pragma once

#include <string>
#include <utility>

#include "nn/parameter.h"

namespace braid {

struct Norm {
  Parameter* weight = nullptr;  // [D]
  Parameter* bias = nullptr;    // [D], layer norm only
  double epsilon = 1e-5;
  at::ScalarType output = at::kFloat;
};

Norm make_layer_norm(ParameterSet& set, const std::string& name, int64_t width, double epsilon);
Norm make_rms_norm(ParameterSet& set, const std::string& name, int64_t width, double epsilon);

// x [..., D] in master type; the result in norm.output.
at::Tensor normalise(const at::Tensor& x, const Norm& norm);

// u = x + f and normalise(u, norm) in one pass; f in norm.output, u in master type.
std::pair<at::Tensor, at::Tensor> add_and_normalise(const at::Tensor& x, const at::Tensor& f, const Norm& norm);

}  // namespace braid
