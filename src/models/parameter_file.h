// SPDX-License-Identifier: Apache-2.0
// Single parameters out of a safetensors file.
#pragma once

#include "nn/parameter.h"
#include "store/safetensors.h"

namespace braid {

// A parameter is filled with what it holds of a tensor of its global shape and of any float type, which was looked through
// before (models/announced_tensor.h).
void fill_parameter(Parameter& parameter, const SafetensorsFile& file, const SafeTensor& tensor);

}  // namespace braid
