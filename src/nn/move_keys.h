// SPDX-License-Identifier: Apache-2.0
// Keys that are kept after they were turned by their positions (nn/rotary.h), as if they had stood elsewhere. A turn by
// p and one by p' - p are one by p', so that this is exact but for rounding. Values have no position and stay.
#pragma once

#include "nn/rotary.h"

namespace braid {

// keys [B, H, T, d] turned for positions `from`, as they are when turned for positions `to`; both [T] or [B, T] int64.
// Turned in `type`, returned in the keys' own. A scale that config.rope puts on keys (yarn) is on them already.
at::Tensor move_keys(const at::Tensor& keys, const at::Tensor& from, const at::Tensor& to, const ModelConfig& config,
                     at::ScalarType type);

// Gists or raw keys and values [B, L, 2, H, P, d] with all positions `by` further on.
at::Tensor move_past(const at::Tensor& kept, int64_t by, const ModelConfig& config, at::ScalarType type);

}  // namespace braid
