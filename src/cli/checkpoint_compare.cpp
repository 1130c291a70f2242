// SPDX-License-Identifier: Apache-2.0
// braid checkpoint inspect and diff: what is in a checkpoint, and what differs between two.
#include <fnmatch.h>

#include <iostream>
#include <span>

#include "base/error.h"
#include "cli/checkpoint_actions.h"
#include "cli/checkpoint_report.h"
#include "cli/command.h"

namespace braid {

namespace {

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

}  // namespace

int inspect_checkpoint(const CheckpointRequest& request) {
  const std::string folder = find_checkpoint(request.paths[0], request.choice);
  const Manifest manifest = read_manifest(folder);
  const Manifest* const one[] = {&manifest};
  const TensorFilter shown = filter_of(request, one);
  std::cout << (request.json ? checkpoint_as_json : describe_checkpoint)(folder, manifest, shown) << std::flush;
  return exit_done;
}

int diff_checkpoints(const CheckpointRequest& request) {
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
  std::cout << "A  " << a_folder << "\nB  " << b_folder << "\n"
            << text << tensors.compared << " tensors of " << tensors.elements
            << " elements compared: " << tensors.different.size() << " differ\n"
            << std::flush;
  return text.empty() ? exit_done : exit_failed;
}

}  // namespace braid
