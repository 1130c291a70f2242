// SPDX-License-Identifier: Apache-2.0
// braid checkpoint: what is in a checkpoint, whether it is whole, what differs between two, and safetensors in and out.
#include <algorithm>

#include "base/error.h"
#include "cli/checkpoint_options.h"
#include "cli/command.h"

namespace braid {

namespace {

constexpr const char* checkpoint_examples = R"(
Examples:
  braid checkpoint inspect runs/a                          # the newest of a run
  braid checkpoint inspect runs/a --step 100 --tensors 'model/*attn*'
  braid checkpoint verify runs/a runs/b                    # every checkpoint of both runs
  braid checkpoint diff runs/a runs/b --step 100
  braid checkpoint export runs/a --out a.safetensors --dtype bf16
  braid checkpoint import a.safetensors --out runs/start
  braid train configs/mhc/demo_mhc.toml --out runs/c --resume runs/start
  braid checkpoint export runs/text --hf models/text       # a folder that transformers loads
  braid checkpoint export runs/tuned --peft adapters/tuned # a run with [lora]: what peft loads
  braid checkpoint export runs/tuned --best --hf models/tuned --merge
  braid checkpoint export runs/text --hf models/text-4bit --nf4   # as bitsandbytes holds it
  braid checkpoint export runs/tuned --memory memories/tuned      # a run with [memory]
  braid checkpoint import --hf models/text --out runs/text-again

PATH is a checkpoint, or a run's folder: then its newest checkpoint, that of --step, or the one with
the lowest held-out loss, --best. A run that begins with an imported checkpoint has the optimiser of
a new run. diff compares bits; relative is |a - b| / max(|a|, |b|).
Exit codes: 0 done; 1 a file is damaged, or diff found a difference; 2 wrong use, or a checkpoint
of a newer version.
)";

struct CheckpointAction {
  const char* name;
  const char* usage;
  size_t fewest, most;               // paths
  std::vector<std::string> options;  // that it takes
  int (*run)(const CheckpointRequest&);

  bool takes(const std::string& option) const {
    return std::find(options.begin(), options.end(), option) != options.end();
  }
};

const std::vector<CheckpointAction>& actions() {
  static const std::vector<CheckpointAction> all = {
      {"inspect", "inspect PATH", 1, 1, {"step", "best", "json", "tensors"}, inspect_checkpoint},
      {"verify", "verify PATH...", 1, SIZE_MAX, {}, verify_checkpoints},
      {"diff", "diff PATH PATH", 2, 2, {"step", "tensors"}, diff_checkpoints},
      {"export",
       "export PATH --out FILE, --hf DIR, --peft DIR or --memory DIR",
       1,
       1,
       {"step", "best", "out", "prefix", "all", "dtype", "hf", "merge", "peft", "memory", "shard-size", "nf4"},
       export_checkpoint},
      {"import",
       "import FILE --out DIR, or import --hf DIR --out DIR",
       0,
       1,
       {"out", "prefix", "hf"},
       import_checkpoint}};
  return all;
}

const CheckpointAction& action_named(const std::string& name) {
  std::string known;
  for (const CheckpointAction& action : actions()) {
    if (name == action.name) return action;
    known += str(known.empty() ? "" : ", ", action.name);
  }
  const std::string what = name.empty() ? "no action given" : "unknown action '" + name + "'";
  throw UsageError(str("braid checkpoint: ", what, "; expected ", known));
}

// Export goes to a file or a folder, import comes from one of both.
bool has_places(const CheckpointAction& action, const CheckpointRequest& request) {
  const bool file = !request.out.empty(), folder = !request.hf.empty();
  const bool adapters = !request.peft.empty(), memory = !request.memory.empty();
  const bool plain = request.shard_size.empty() && request.nf4.empty();
  if (action.run == export_checkpoint) return file + folder + adapters + memory == 1 && (folder || plain);
  if (action.run == import_checkpoint) return file && request.paths.size() == (folder ? 0 : 1);
  return true;
}

// Refuses what the action does not take or cannot do without.
void check_request(const cxxopts::ParseResult& parsed, const CheckpointAction& action,
                   const CheckpointRequest& request) {
  for (const char* option : {"step", "best", "json", "tensors", "out", "prefix", "all", "dtype", "hf", "merge", "peft",
                             "memory", "shard-size", "nf4"}) {
    if (!parsed.count(option) || action.takes(option)) continue;
    throw UsageError(str("braid checkpoint ", action.name, ": takes no --", option));
  }
  const bool enough = request.paths.size() >= action.fewest && request.paths.size() <= action.most;
  if (!enough || !has_places(action, request)) throw UsageError(str("braid checkpoint: expected ", action.usage));
  check_checkpoint_request(parsed, request);
}

}  // namespace

int command_checkpoint(const Arguments& arguments) {
  cxxopts::Options options("braid checkpoint",
                           "inspect PATH: what is in a checkpoint.   verify PATH...: whether its files are whole.\n"
                           "diff A B: what differs.   export PATH --out FILE, import FILE --out DIR: safetensors.\n"
                           "export PATH --hf DIR, import --hf DIR --out DIR: Hugging Face model folders.");
  add_checkpoint_options(options);
  int code = exit_done;
  const auto use = [&](const cxxopts::ParseResult& parsed) {
    const CheckpointAction& action = action_named(parsed["action"].as<std::string>());
    const CheckpointRequest request = read_checkpoint_request(parsed);
    check_request(parsed, action, request);
    code = action.run(request);
  };
  parse_arguments(options, arguments, use, checkpoint_examples);
  return code;
}

}  // namespace braid
