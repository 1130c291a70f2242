// SPDX-License-Identifier: Apache-2.0
// The world that the test program's main has connected.
#pragma once

#include "comm/world.h"

namespace braid::test {

World& world();

}  // namespace braid::test
