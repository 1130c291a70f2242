// SPDX-License-Identifier: Apache-2.0
// One connection between two sublayers in the form of mHC's or HC's paper, fused (arXiv 2512.24880, sections 4.2
// and 4.3; arXiv 2409.19606, section 3): the write of the sublayer before it, the coefficients of the one behind it,
// and that one's read. Of each token, S streams of width D; mHC:
//   X'[s] = sum_t H[s,t] X[t] + c[s] f                               (or X' = X: nothing has been written yet)
//   r = 1 / sqrt(mean(X'^2) + epsilon),  y = r (vec(X') P)           mean over all S D numbers; P [S D, K]
//   raw = scale y + bias                                             a scale for each of read, write and mixing
//   w = sigmoid(raw[0 .. S)),  c' = 2 sigmoid(raw[S .. 2S)),  H' = doubly stochastic of raw[2S .. K)
//   m' = sum_t w[t] X'[t]
// H' is Sinkhorn's of exp(raw), columns then rows `iterations` times as in sinkhorn.h, the largest logit of each column
// taken from it first, which changes no result but overflow (K = 2S + S^2); or the sum of all S! permutations, weighted
// with a softmax of raw (arXiv 2601.05732; K = 2S + S!; lexicographic, the identity first; p has its ones at [i,
// p(i)]). HC has a norm for each stream, a projection that all share, P [D, 2 + S], and coefficients without bounds:
//   r[s] = 1 / sqrt(mean(X'[s]^2) + epsilon),  y[s] = r[s] (X'[s] P),  raw[s] = scale tanh(y[s]) + bias[s]
//   w[s] = raw[s][0],  c'[s] = raw[s][1],  H'[s,t] = raw[t][2 + s]     a scale of read and mixing, one of write
// so that K = S (2 + S) and N = S norms, where mHC has N = 1. X and f are float or bf16 (`uint16_t` bits), X' is
// rounded before it is used; all else, coefficients, y, r, P, scale and bias, is fp32, sums in fp32. With
// Element::float64 (the reference in tests) all is double. CPU and CUDA twins have the same signature; `stream` is the
// CUDA stream, ignored on CPU. No result depends on the number of threads, those of a token not on the other tokens
// either.
#pragma once

#include <cstdint>

#include "kernels/launch.h"

namespace braid::kernels {

enum class Mixing { sinkhorn, permutations, unconstrained };  // the last is HC

struct ConnectionShape {
  int64_t tokens, streams, width;  // M, S, D
  Mixing mixing = Mixing::sinkhorn;
  int64_t iterations = 20;  // Sinkhorn's
  double epsilon = 1e-6;    // of the norm
};

// 2, 4 or 8 streams; permutations 2 or 4.
bool has_connection_kernel(Mixing, int64_t streams);
int64_t connection_logits(Mixing, int64_t streams);  // K
int64_t connection_norms(Mixing, int64_t streams);   // N
// Device memory that a call needs beside its arguments, forward or backward, in bytes; 0 on the CPU.
int64_t connection_scratch_bytes(Launch, const ConnectionShape&, Element);

// What the sublayer before the connection leaves. Without f X' is X, and write and mix are not read.
struct ConnectionWrite {
  const void *X, *f = nullptr;                  // [M, S, D], [M, D]
  const void *write = nullptr, *mix = nullptr;  // c [M, S], H [M, S, S]
};

struct ConnectionWeights {
  const void *projection, *scale, *bias;  // P [S D, K] or [D, 2 + S], [3] or [2], [K]
};

// All overwritten. Backward needs all but m.
struct ConnectionOutputs {
  void* X;                   // X' [M, S, D], not null only where there is f; not the X before
  void *projected, *rstd;    // y [M, K], r [M, N]
  void *read, *write, *mix;  // w [M, S], c' [M, S], H' [M, S, S]
  void* m;                   // m' [M, D]
};

void connection(Launch, const ConnectionShape&, Element, const ConnectionWrite&, const ConnectionWeights&,
                const ConnectionOutputs&, void* scratch);

// The outputs as backward reads them. X is X' also where nothing was written.
struct ConnectionSaved {
  const void *X, *projected, *rstd, *read, *write, *mix;
};

struct ConnectionOutputGradients {
  const void *X, *write, *mix, *m;  // dX' [M, S, D], dc' [M, S], dH' [M, S, S], dm' [M, D]
};

// X, f, write and mix are overwritten, the last three only where something was written. projection, scale and bias are
// ADDED to, or not computed where projection is null.
struct ConnectionInputGradients {
  void *X, *f, *write, *mix;        // dX [M, S, D], df [M, D], dc [M, S], dH [M, S, S]
  void *projection, *scale, *bias;  // dP, [3] or [2], [K]
};

// Sinkhorn's iterates are computed again.
void connection_backward(Launch, const ConnectionShape&, Element, const ConnectionWrite&, const ConnectionWeights&,
                         const ConnectionSaved&, const ConnectionOutputGradients&, const ConnectionInputGradients&,
                         void* scratch);

}  // namespace braid::kernels
