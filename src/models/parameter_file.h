// SPDX-License-Identifier: Apache-2.0
// Single parameters out of a safetensors file whose names and shapes another file has announced.
#pragma once

#include <string>

#include "nn/parameter.h"
#include "store/safetensors.h"

namespace braid {

// A parameter that is whole here is filled with the tensor of that name: float64, float32, bfloat16 or float16.
// `announced` is the file that says it must be there. UsageError: it is missing, has another shape or type, or is not
// finite.
void load_parameter(const SafetensorsFile& file, const std::string& name, Parameter& parameter,
                    const std::string& announced);

}  // namespace braid
