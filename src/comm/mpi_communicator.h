// SPDX-License-Identifier: Apache-2.0
// The MPI back end, for CPU memory.
#pragma once

#include <mpi.h>

#include <memory>

#include "comm/comm_thread.h"
#include "comm/communicator.h"

namespace braid {

// The largest count of one MPI message: MPI counts with int. Tests lower it.
constexpr size_t mpi_message_elements = size_t{1} << 30;

// `comm` stays the caller's; all calls on it go through `thread`, which must outlive this.
std::unique_ptr<Communicator> make_mpi_communicator(MPI_Comm comm, std::shared_ptr<CommThread> thread,
                                                    size_t message_elements = mpi_message_elements);

}  // namespace braid
