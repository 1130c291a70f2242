// SPDX-License-Identifier: Apache-2.0
// A tensor of a safetensors file that another file has announced: whether it is there and sound. Knows no torch.
#pragma once

#include <memory>
#include <string>

#include "store/safetensors.h"

namespace braid {

// The file; UsageError where it is none, also one that is damaged.
std::unique_ptr<SafetensorsFile> open_announced(const std::string& path);

// The tensor of that name, as F64, F32, BF16 or F16. `announced` is the file that says it must be there. UsageError: it is
// missing, has another shape or type, or is not finite.
const SafeTensor& announced_tensor(const SafetensorsFile& file, const std::string& name, const Extent& shape,
                                   const std::string& announced);

}  // namespace braid
