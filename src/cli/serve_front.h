// SPDX-License-Identifier: Apache-2.0
// braid serve as one address for several replicas: processes of its own, or servers elsewhere.
#pragma once

#include "cli/command.h"
#include "cli/serve_options.h"

namespace braid {

// arguments: of the command line, which replicas of its own are started with.
int serve_front(const ServeRequest& request, const Arguments& arguments);

}  // namespace braid
