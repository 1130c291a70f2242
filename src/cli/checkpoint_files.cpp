// SPDX-License-Identifier: Apache-2.0
// braid checkpoint export and import: checkpoints as files of other formats, and back.
#include <filesystem>
#include <iostream>
#include <optional>

#include "base/clock.h"
#include "base/error.h"
#include "cli/checkpoint_actions.h"
#include "cli/checkpoint_hf.h"
#include "cli/checkpoint_memory.h"
#include "cli/checkpoint_peft.h"
#include "cli/command.h"
#include "experiments/version.h"
#include "models/hf_export.h"
#include "store/checkpoint_convert.h"
#include "train/memory.h"
#include "train/run_position.h"

namespace braid {

namespace {

std::string describe(const Converted& done) {
  return str(done.tensors, done.tensors == 1 ? " tensor, " : " tensors, ", human_bytes(done.bytes));
}

std::optional<h5::Element> chosen_element(const CheckpointRequest& request) {
  if (request.dtype.empty()) return std::nullopt;
  return request.dtype == "bf16" ? h5::Element::bfloat16 : h5::Element::float32;
}

Nf4Form chosen_form(const CheckpointRequest& request) {
  if (request.nf4.empty()) return Nf4Form::none;
  return request.nf4 == "double" ? Nf4Form::double_quantised : Nf4Form::single_absmax;
}

}  // namespace

int export_checkpoint(const CheckpointRequest& request) {
  const ExportOptions options{request.prefix, request.all, chosen_element(request)};
  const std::string folder = find_checkpoint(request.paths[0], request.choice);
  if (!request.peft.empty()) {
    export_peft_folder(folder, request.peft);
    return exit_done;
  }
  if (!request.memory.empty()) {
    export_memory_folder(folder, request.memory);
    return exit_done;
  }
  if (!request.hf.empty()) {
    const std::string size = request.shard_size.empty() ? "5GB" : request.shard_size;
    const auto write = request.merge ? export_merged_folder : export_hf_folder;
    write(folder, request.hf, {options.element, parse_shard_size(size), chosen_form(request), ""});
    return exit_done;
  }
  const Converted done = export_safetensors(folder, request.out, options);
  std::cout << request.out << ": " << describe(done) << ", of " << folder << "\n";
  return exit_done;
}

int import_checkpoint(const CheckpointRequest& request) {
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

}  // namespace braid
