// SPDX-License-Identifier: Apache-2.0
// Single parameters out of a safetensors file.
#pragma once

#include "nn/parameter.h"
#include "store/safetensors.h"

namespace braid {

// A parameter, or what of it is here, is filled with a tensor of its shape and of any float type, which was looked through
// before (models/announced_tensor.h).
void fill_parameter(Parameter& parameter, const SafetensorsFile& file, const SafeTensor& tensor);

}  // namespace braid
