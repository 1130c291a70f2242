// SPDX-License-Identifier: Apache-2.0
// OUT: made new for each run, never shared by two.
#pragma once

#include <string>

namespace braid {

// Makes OUT (and parents). UsageError when it cannot be made.
void create_run_folder(const std::string& out);
// OUT/config.toml, in one rename. UsageError when it cannot be written.
void write_run_config(const std::string& out, const std::string& config_toml);

// "runs/demo_mhc-20260102-030405".
std::string default_run_folder(const std::string& config_path);

}  // namespace braid
