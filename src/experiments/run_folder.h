// SPDX-License-Identifier: Apache-2.0
// OUT: made new for each run, never shared by two.
#pragma once

#include <string>
#include <vector>

#include "comm/world.h"
#include "experiments/run_config.h"
#include "store/run_file.h"
#include "train/run_recorder.h"

namespace braid {

// Makes OUT (and parents) and writes config.toml. UsageError when it holds another run or cannot be written.
void create_run_folder(const std::string& out, const std::string& config_toml);

// Root attributes of run.h5.
RunAttributes run_attributes(const World& world, int ranks, const std::string& config_toml);

std::string sha256_hex(const std::string& text);

// "runs/demo_mhc-20260102-030405".
std::string default_run_folder(const std::string& config_path);

}  // namespace braid
