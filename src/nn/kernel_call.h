// SPDX-License-Identifier: Apache-2.0
// From tensors to the pointers, places and streams that kernels take.
#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/launch.h"

namespace braid {

kernels::Launch launch_for(const at::Tensor& x);      // place, and the device's current stream
kernels::Element element_of(const at::Tensor& x);     // Error for a type no kernel takes
void* current_stream_of(const at::Device& device);    // nullptr on the CPU
void wait_for(const at::Device& device);              // until what was asked of it is done

}  // namespace braid
