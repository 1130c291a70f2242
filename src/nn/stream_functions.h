// SPDX-License-Identifier: Apache-2.0
// Differentiable reads and writes of residual streams. Coefficients that are the same for all tokens are handles, not
// autograd inputs: their gradients are added to buffers that live for a whole step.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

namespace braid {

struct StreamCoefficients {
  at::Tensor read;   // [L + 1, S]
  at::Tensor write;  // [L, S]
  at::Tensor mix;    // [L, S, S]
};

// Coefficients of one sublayer and where their gradients go. Both outlive the autograd graph.
struct StreamHandle {
  const StreamCoefficients* coefficients;
  StreamCoefficients* gradients;
  int64_t index;
};

// X [B, T, S, D] to m [B, T, D] with the weights of sublayer `index`.
at::Tensor read_streams(const at::Tensor& X, StreamHandle handle);

// (X [B, T, S, D], f [B, T, D]) to (X' [B, T, S, D], m' [B, T, D]): the write of sublayer `index` and, in the same pass
// over memory, the read of the one after it.
std::pair<at::Tensor, at::Tensor> write_and_read_streams(const at::Tensor& X, const at::Tensor& f, StreamHandle handle);

// The same with coefficients of each token, which are autograd inputs, in the type of X.
// X [B, T, S, D], w [B, T, S] to [B, T, D]: sum_t w[t] X[t].
at::Tensor read_streams(const at::Tensor& X, const at::Tensor& w);
// H [B, T, S, S], c [B, T, S], f [B, T, D] to X'[s] = sum_t H[s,t] X[t] + c[s] f.
at::Tensor write_streams(const at::Tensor& X, const at::Tensor& H, const at::Tensor& c, const at::Tensor& f);

}  // namespace braid
