// SPDX-License-Identifier: Apache-2.0
// Loads slices of a checkpoint's tensors, whatever slices it was stored in: any number of ranks and any layout.
#pragma once

#include <string>

#include "store/checkpoint_manifest.h"

namespace braid {

// Checks every file of a checkpoint against the seals and the manifest: part `part` of `parts` equal shares of the shards
// (each rank checks its own share; the manifest is checked by all). Error names the file and what is wrong.
Manifest verify_checkpoint(const std::string& folder, int part = 0, int parts = 1);

class CheckpointReader {
 public:
  CheckpointReader(std::string folder, Manifest manifest);  // verified before

  const Manifest& manifest() const { return manifest_; }
  bool has(const std::string& tensor) const { return tensors_.count(tensor) > 0; }
  h5::Element element(const std::string& tensor) const;  // as it is stored. Error: no such tensor
  // Fills `target`'s elements. Slices that are read whole are held against their CRC-32C again. Error: no such tensor,
  // another shape or element type, elements that no shard has.
  void read(const TensorSlice& target, std::byte* out) const;

 private:
  struct Tensor {
    TensorSlice whole;
    std::vector<StoredSlice> slices;
  };
  const Tensor& find(const std::string& tensor) const;
  int64_t read_part(const StoredSlice& stored, const TensorSlice& target, std::byte* out) const;
  void read_whole_slice(const StoredSlice& stored, std::byte* out) const;
  std::string shard_path(const StoredSlice& stored) const;

  std::string folder_;
  Manifest manifest_;
  std::map<std::string, Tensor> tensors_;
};

}  // namespace braid
