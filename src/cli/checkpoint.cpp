// SPDX-License-Identifier: Apache-2.0
// braid checkpoint: what is in a checkpoint, whether it is whole, what differs between two, and safetensors in and out.
#include <fnmatch.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <span>

#include "base/clock.h"
#include "base/error.h"
#include "cli/checkpoint_hf.h"
#include "cli/checkpoint_peft.h"
#include "cli/checkpoint_report.h"
#include "cli/command.h"
#include "cli/options.h"
#include "experiments/version.h"
#include "models/hf_export.h"
#include "store/checkpoint_convert.h"
#include "store/checkpoint_lookup.h"
#include "store/checkpoint_verify.h"
#include "train/memory.h"
#include "train/run_position.h"

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
  braid checkpoint import --hf models/text --out runs/text-again

PATH is a checkpoint, or a run's folder: then its newest checkpoint, that of --step, or the one with
the lowest held-out loss, --best. A run that begins with an imported checkpoint has the optimiser of
a new run. diff compares bits; relative is |a - b| / max(|a|, |b|).
Exit codes: 0 done; 1 a file is damaged, or diff found a difference; 2 wrong use, or a checkpoint
of a newer version.
)";

struct CheckpointRequest {
  std::vector<std::string> paths;
  CheckpointChoice choice;
  bool json = false, all = false, merge = false;
  std::string tensors, out, prefix = "model/", dtype, hf, peft, shard_size;
};

// Tensors that --tensors takes; one that takes none is a mistake.
TensorFilter filter_of(const CheckpointRequest& request, std::span<const Manifest* const> manifests) {
  if (request.tensors.empty()) return [](const std::string&) { return true; };
  const TensorFilter filter = [pattern = request.tensors](const std::string& name) {
    return fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
  };
  for (const Manifest* manifest : manifests) {
    for (const auto& [name, tensor] : manifest->tensors()) {
      if (filter(name)) return filter;
    }
  }
  throw UsageError(str("--tensors ", request.tensors, ": no tensor has such a name"));
}

int inspect(const CheckpointRequest& request) {
  const std::string folder = find_checkpoint(request.paths[0], request.choice);
  const Manifest manifest = read_manifest(folder);
  const Manifest* const one[] = {&manifest};
  const TensorFilter shown = filter_of(request, one);
  std::cout << (request.json ? checkpoint_as_json : describe_checkpoint)(folder, manifest, shown) << std::flush;
  return exit_done;
}

struct VerifyTotals {
  int64_t checkpoints = 0, files = 0, damaged = 0, newer = 0;
};

void tell_of_file(const FileCheck& check, VerifyTotals& totals) {
  ++totals.files;
  (check.newer ? totals.newer : totals.damaged) += !check.problems.empty();
  for (const std::string& problem : check.problems) std::cerr << "braid: " << problem << std::endl;
  if (!check.problems.empty()) return;
  char rate[32];
  std::snprintf(rate, sizeof rate, "%.2f GiB/s", double(check.bytes) / std::max(check.seconds, 1e-9) / (1 << 30));
  std::cout << check.path << ": whole, " << human_bytes(check.bytes) << ", ";
  if (check.slices > 0) std::cout << check.slices << (check.slices == 1 ? " slice, " : " slices, ");
  std::cout << rate << std::endl;
}

void tell_of_leftovers(const std::string& root) {
  for (const std::string& name : leftovers_in(root)) {
    const char* what = name.ends_with(".tmp") ? "a save that has not ended" : "moved out of the way";
    std::cout << root << "/" << name << ": not looked at: " << what << "\n";
  }
}

int conclude(const VerifyTotals& totals) {
  std::cout << totals.checkpoints << (totals.checkpoints == 1 ? " checkpoint, " : " checkpoints, ") << totals.files
            << " files: ";
  if (totals.damaged + totals.newer == 0) {
    std::cout << "all whole" << std::endl;
    return exit_done;
  }
  std::cout << totals.damaged << " damaged, " << totals.newer << " of a newer version" << std::endl;
  return totals.damaged > 0 ? exit_failed : exit_usage;
}

int verify(const CheckpointRequest& request) {
  VerifyTotals totals;
  std::vector<CheckpointsFound> all;
  for (const std::string& path : request.paths) all.push_back(find_checkpoints(path));
  for (const CheckpointsFound& found : all) {
    for (const std::string& folder : found.checkpoints) {
      ++totals.checkpoints;
      check_checkpoint(folder, [&](const FileCheck& check) { tell_of_file(check, totals); });
    }
    if (!found.root.empty()) tell_of_leftovers(found.root);
  }
  return conclude(totals);
}

int diff(const CheckpointRequest& request) {
  const std::string a_folder = find_checkpoint(request.paths[0], request.choice);
  const std::string b_folder = find_checkpoint(request.paths[1], request.choice);
  const CheckpointReader a(a_folder, verify_checkpoint(a_folder)), b(b_folder, verify_checkpoint(b_folder));
  const Manifest* const both[] = {&a.manifest(), &b.manifest()};
  const TensorComparison tensors = compare_tensors(a, b, filter_of(request, both));
  std::string text = describe_tensor_difference(tensors);
  if (request.tensors.empty()) {
    text = describe_state_difference(a.manifest(), b.manifest()) + text;
    text = describe_config_difference(a.manifest(), b.manifest()) + text;
  }
  std::cout << "A  " << a_folder << "\nB  " << b_folder << "\n" << text << tensors.compared << " tensors of "
            << tensors.elements << " elements compared: " << tensors.different.size() << " differ\n" << std::flush;
  return text.empty() ? exit_done : exit_failed;
}

std::string describe(const Converted& done) {
  return str(done.tensors, done.tensors == 1 ? " tensor, " : " tensors, ", human_bytes(done.bytes));
}

std::optional<h5::Element> chosen_element(const CheckpointRequest& request) {
  if (request.dtype.empty()) return std::nullopt;
  return request.dtype == "bf16" ? h5::Element::bfloat16 : h5::Element::float32;
}

int export_file(const CheckpointRequest& request) {
  const ExportOptions options{request.prefix, request.all, chosen_element(request)};
  const std::string folder = find_checkpoint(request.paths[0], request.choice);
  if (!request.peft.empty()) {
    export_peft_folder(folder, request.peft);
    return exit_done;
  }
  if (!request.hf.empty()) {
    const std::string size = request.shard_size.empty() ? "5GB" : request.shard_size;
    const auto write = request.merge ? export_merged_folder : export_hf_folder;
    write(folder, request.hf, {options.element, parse_shard_size(size), ""});
    return exit_done;
  }
  const Converted done = export_safetensors(folder, request.out, options);
  std::cout << request.out << ": " << describe(done) << ", of " << folder << "\n";
  return exit_done;
}

int import_file(const CheckpointRequest& request) {
  std::error_code problem;
  const bool from_folder = !request.hf.empty();
  if (!from_folder && !std::filesystem::is_regular_file(request.paths[0], problem)) {
    throw UsageError(str(request.paths[0], ": no such file"));
  }
  const Versions versions = library_versions();
  const RunAttributes attributes = {{"braid_version", versions.braid},
                                    {"git_commit", versions.commit},
                                    {"uncommitted_changes", int64_t{versions.uncommitted_changes}},
                                    {"host", host_name()}};
  const ImportOptions options{request.prefix, attributes, to_state(RunPosition(TrainConfig{}))};
  const Converted done = from_folder ? import_hf(request.hf, request.out, options)
                                     : import_safetensors(request.paths[0], request.out, options);
  std::cout << request.out << ": " << describe(done) << "; braid train … --resume " << request.out
            << " starts from it\n";
  return exit_done;
}

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
      {"inspect", "inspect PATH", 1, 1, {"step", "best", "json", "tensors"}, inspect},
      {"verify", "verify PATH...", 1, SIZE_MAX, {}, verify},
      {"diff", "diff PATH PATH", 2, 2, {"step", "tensors"}, diff},
      {"export", "export PATH --out FILE, --hf DIR or --peft DIR", 1, 1,
       {"step", "best", "out", "prefix", "all", "dtype", "hf", "merge", "peft", "shard-size"}, export_file},
      {"import", "import FILE --out DIR, or import --hf DIR --out DIR", 0, 1, {"out", "prefix", "hf"}, import_file}};
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

CheckpointRequest read_request(const cxxopts::ParseResult& parsed) {
  CheckpointRequest request;
  if (parsed.count("paths")) request.paths = parsed["paths"].as<std::vector<std::string>>();
  if (parsed.count("step")) request.choice.step = parsed["step"].as<int64_t>();
  request.choice.best = parsed.count("best") > 0;
  request.merge = parsed.count("merge") > 0;
  const auto text = [&](const char* option, std::string& value) {
    if (parsed.count(option)) value = parsed[option].as<std::string>();
  };
  text("tensors", request.tensors);
  text("out", request.out);
  text("prefix", request.prefix);
  text("dtype", request.dtype);
  text("hf", request.hf);
  text("peft", request.peft);
  text("shard-size", request.shard_size);
  request.json = parsed.count("json") > 0;
  request.all = parsed.count("all") > 0;
  return request;
}

// Export goes to a file or a folder, import comes from one of both.
bool has_places(const CheckpointAction& action, const CheckpointRequest& request) {
  const bool file = !request.out.empty(), folder = !request.hf.empty(), adapters = !request.peft.empty();
  if (action.run == export_file) return file + folder + adapters == 1 && (folder || request.shard_size.empty());
  if (action.run == import_file) return file && request.paths.size() == (folder ? 0 : 1);
  return true;
}

// Refuses what the action does not take or cannot do without.
void check_request(const cxxopts::ParseResult& parsed, const CheckpointAction& action,
                   const CheckpointRequest& request) {
  for (const char* option : {"step", "best", "json", "tensors", "out", "prefix", "all", "dtype", "hf", "merge", "peft",
                             "shard-size"}) {
    if (!parsed.count(option) || action.takes(option)) continue;
    throw UsageError(str("braid checkpoint ", action.name, ": takes no --", option));
  }
  const bool enough = request.paths.size() >= action.fewest && request.paths.size() <= action.most;
  if (!enough || !has_places(action, request)) throw UsageError(str("braid checkpoint: expected ", action.usage));
  if (parsed.count("step") && parsed.count("best")) throw UsageError("--step and --best: expected one of both");
  if (request.merge && request.hf.empty()) throw UsageError("--merge goes with --hf DIR");
  if (parsed.count("hf") && (parsed.count("all") || parsed.count("prefix"))) {
    throw UsageError("--hf takes the whole model; it has no --all and no --prefix");
  }
  if (parsed.count("peft") && (parsed.count("all") || parsed.count("prefix") || parsed.count("dtype"))) {
    throw UsageError("--peft writes adapters in float32; it has no --all, no --prefix and no --dtype");
  }
  if (parsed.count("all") && parsed.count("prefix")) throw UsageError("--all takes every tensor; it has no --prefix");
  if (!request.dtype.empty() && request.dtype != "bf16" && request.dtype != "fp32") {
    throw UsageError(str("--dtype ", request.dtype, ": expected bf16 or fp32"));
  }
}

void add_checkpoint_options(cxxopts::Options& options) {
  const auto text = [] { return cxxopts::value<std::string>(); };
  options.add_options()("action", "inspect, verify, diff, export or import", text()->default_value(""))(
      "paths", "checkpoints or runs; import: a safetensors file", cxxopts::value<std::vector<std::string>>())(
      "step", "the run's checkpoint of so many updates, not the newest", cxxopts::value<int64_t>(), "N")(
      "best", "the run's checkpoint with the lowest held-out loss (checkpoint.keep_best)")(
      "json", "inspect: as an object instead of tables")(
      "tensors", "inspect, diff: only tensors of such names; diff then compares nothing else", text(), "PATTERN")(
      "out", "export: file, replaced if it is there; import: folder of the new checkpoint", text(), "PATH")(
      "prefix", "export: take tensors that begin so, without it; import: put before names (default: model/)", text(),
      "TEXT")("all", "export: every tensor, under its whole name")(
      "hf", "export: folder of a Hugging Face model to write; import: one to read", text(), "DIR")(
      "merge", "export --hf of a run with [lora]: the base model with the adapters merged")(
      "peft", "export: folder of the adapters of a run with [lora], as peft loads it", text(), "DIR")(
      "shard-size", "export --hf: start another file of weights before one exceeds this (default: 5GB)", text(), "SIZE")(
      "dtype", "export: bf16 or fp32; floats are rounded to nearest even (default: as they are stored)", text(),
      "TYPE")("h,help", "this text");
  options.parse_positional({"action", "paths"});
  options.positional_help("ACTION PATH...");
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
    const CheckpointRequest request = read_request(parsed);
    check_request(parsed, action, request);
    code = action.run(request);
  };
  parse_arguments(options, arguments, use, checkpoint_examples);
  return code;
}

}  // namespace braid
