// SPDX-License-Identifier: Apache-2.0
// The NCCL back end, for CUDA memory. Its work runs on a stream of its own; events order it after what produced a buffer
// and before what uses the result, without stopping the host.
#pragma once

#include <memory>

#include "comm/communicator.h"

namespace braid {

// Collective over `host`, through which rank 0 hands out NCCL's unique id. `host` must outlive it. Error when the NCCL
// found at run time is another than the one compiled against, or in a build without CUDA.
std::unique_ptr<Communicator> make_nccl_communicator(Communicator& host, int device);

}  // namespace braid
