// SPDX-License-Identifier: Apache-2.0
// Checkpoints to safetensors files and back.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "store/checkpoint_manifest.h"
#include "store/checkpoint_reader.h"
#include "store/safetensors.h"

namespace braid {

struct Converted {
  int64_t tensors = 0, bytes = 0;  // bytes: of elements
};

struct ExportOptions {
  std::string prefix = "model/";       // of the tensors that are taken; not part of their names in the file
  bool all = false;                    // every tensor, under its whole name
  std::optional<h5::Element> element;  // what floats become: bfloat16 or float32; none: as they are stored
};
// Verifies the checkpoint first, then writes tensor by tensor; `path` is replaced when all is there. The file's
// metadata say format "braid", step, run_id and config. UsageError: no such tensors. Error.
Converted export_safetensors(const std::string& folder, const std::string& path, const ExportOptions& options);

// The elements of one slice as `element`, in pieces, to where the writer stands.
void copy_elements(const CheckpointReader& reader, const TensorSlice& slice, h5::Element element,
                   SafetensorsWriter& writer);

struct ImportOptions {
  std::string prefix = "model/";  // put before the names of the file
  RunAttributes attributes;       // of the checkpoint, besides `imported`
  CheckpointState state;          // where a run begins
};
// Makes `folder`, a checkpoint of step 0 whose attribute `imported` names the file. UsageError: the folder is there, or
// a name that a checkpoint cannot hold. Error.
Converted import_safetensors(const std::string& path, const std::string& folder, const ImportOptions& options);

// The same from slices in memory, a list per shard; in a shard no tensor has two slices. `source` goes to `imported`.
Converted import_slices(const std::vector<std::vector<SliceData>>& shards, const std::string& source,
                        const std::string& folder, const ImportOptions& options);

}  // namespace braid
