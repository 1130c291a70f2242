// SPDX-License-Identifier: Apache-2.0
// Makes the files of the present format versions in the folder that is given (see format_files.h):
//   build/tests/format_files_writer tests/store/data
#include <filesystem>
#include <iostream>

#include "format_files.h"
#include "store/sealed_file.h"

namespace braid {
namespace {

void write_checkpoint(const std::string& folder) {
  std::filesystem::create_directories(folder);
  std::mt19937 chance(4);
  Manifest manifest;
  manifest.step = format_files::steps;
  manifest.attributes = format_files::attributes();
  manifest.state = format_files::state();
  manifest.shards = write_random_shards(folder, format_files::tensors(), 3, chance);
  write_manifest(folder, manifest);
}

void write_run_file(const std::string& path) {
  const auto file = RunFile::create(path, format_files::run_file_spec());
  for (int64_t step = 0; step < format_files::steps; ++step) {
    file->append("train", {{"step", step}, {"loss", format_files::loss(step)}});
    file->append_layers(step, {{"gain", {double(step), -double(step)}}});
  }
  file->append("events", {{"step", int64_t{3}}, {"kind", std::string("skipped_update")}});
  file->status({"preempted", format_files::steps - 1, 20, 85, "stopped on request"});
  file->drain();
}

}  // namespace
}  // namespace braid

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: format_files_writer FOLDER\n";
    return 2;
  }
  const std::string folder = argv[1], version = std::to_string(braid::checkpoint_format_version);
  braid::write_checkpoint(folder + "/checkpoint-v" + version);
  braid::write_run_file(folder + "/run-v1.h5");
}
