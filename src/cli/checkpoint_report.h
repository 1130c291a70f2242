// SPDX-License-Identifier: Apache-2.0
// Checkpoints as text and JSON: what is in one, and what differs between two.
#pragma once

#include <functional>
#include <string>

#include "store/checkpoint_compare.h"

namespace braid {

using TensorFilter = std::function<bool(const std::string&)>;

std::string describe_checkpoint(const std::string& folder, const Manifest& manifest, const TensorFilter& shown);
std::string checkpoint_as_json(const std::string& folder, const Manifest& manifest, const TensorFilter& shown);

// One line each of the configuration's keys and the state's values that differ; "" where none do.
std::string describe_config_difference(const Manifest& a, const Manifest& b);
std::string describe_state_difference(const Manifest& a, const Manifest& b);
std::string describe_tensor_difference(const TensorComparison& comparison);

}  // namespace braid
