// SPDX-License-Identifier: Apache-2.0
// Numbers of one element type as numbers of another.
#pragma once

#include <cstddef>

#include "store/h5.h"

namespace braid {

bool is_float(h5::Element element);
// Whether every value of `from` is a value of `to`, which is bfloat16, float32 or float64.
bool widens(h5::Element from, h5::Element to);

// `to` is bfloat16, float32 or float64 (Error for others); rounds once, to nearest, ties to even. NaN stays NaN. No
// alignment is asked for.
void convert_elements(h5::Element from, const std::byte* in, h5::Element to, std::byte* out, size_t count);

}  // namespace braid
