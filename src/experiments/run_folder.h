// SPDX-License-Identifier: Apache-2.0
// OUT: made new for each run, never shared by two.
#pragma once

#include <string>

namespace braid {

// Makes OUT (and parents) and writes config.toml. UsageError when it holds another run or cannot be written.
void create_run_folder(const std::string& out, const std::string& config_toml);

// "runs/demo_mhc-20260102-030405".
std::string default_run_folder(const std::string& config_path);

}  // namespace braid
