// SPDX-License-Identifier: Apache-2.0
// What a run file says of the run itself, so that it can be judged and repeated: command, sources, libraries, data, every
// rank's place, and the environment that changes how it computes.
#pragma once

#include <string>
#include <vector>

#include "experiments/run_config.h"
#include "experiments/task_data.h"
#include "nn/transformer.h"
#include "store/run_file.h"
#include "train/trainer.h"

namespace braid {

// How a run is spread: "data=4", "data=2 tensor=2, shard=parameters", "data=4, shard=gradients over 2".
std::string arrangement_text(const ParallelConfig& parallel, int64_t replicas);

// Tables /sessions, /ranks and /environment, and their rows.
std::vector<TableSpec> record_tables();

struct RunRecord {
  std::vector<Row> ranks;        // one each
  std::vector<Row> environment;  // rank 0's, and of other ranks what differs from it
};

// Collective over `host`; the rows are rank 0's alone.
RunRecord gather_run_record(const World& world, Communicator& host, int64_t session);

// This start of the run in /sessions; `attributes` are those of the run file.
Row session_row(int64_t session, int64_t first_step, const RunAttributes& attributes);

// Root attributes besides format and created_utc. An empty run_id asks for a new one.
RunAttributes run_attributes(const World& world, int ranks, const RunConfig& config, const std::string& config_toml,
                             const TaskData& data, Transformer& model, const std::string& run_id);

std::string sha256_hex(const std::string& text);

}  // namespace braid
