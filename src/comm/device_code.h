// SPDX-License-Identifier: Apache-2.0
// Whether this binary's CUDA code can run on a device.
#pragma once

namespace braid {

bool device_has_code(int device);

}  // namespace braid
