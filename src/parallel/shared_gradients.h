// SPDX-License-Identifier: Apache-2.0
// Gradients of what all of some ranks hold, of which each has a term.
#pragma once

#include <vector>

#include "comm/communicator.h"
#include "nn/parameter.h"

namespace braid {

// Every rank's gradients become the sum over the ranks, in one message. Collective where there are any.
void sum_gradients(const std::vector<at::Tensor>& gradients, Communicator& comm);
void sum_gradients(const std::vector<Parameter*>& parameters, Communicator& comm);

}  // namespace braid
