// SPDX-License-Identifier: Apache-2.0
// Gradients of what all of some ranks hold, of which each has a term.
#pragma once

#include <vector>

#include "comm/communicator.h"
#include "optim/update_range.h"

namespace braid {

// What the ranges hold of these parameters' gradients becomes the sum over the ranks, in one message. The ranks' ranges have the
// same places of them. Collective where there are any.
void sum_gradients(const std::vector<UpdateRange>& ranges, const std::vector<Parameter*>& parameters, Communicator& comm);

}  // namespace braid
