// SPDX-License-Identifier: Apache-2.0
// cxxopts with its list separator turned off: it would split --set data.mix=[1,2] at the comma.
#pragma once

#define CXXOPTS_VECTOR_DELIMITER '\0'
#include <cxxopts.hpp>
