// SPDX-License-Identifier: Apache-2.0
#include "cli/checkpoint_memory.h"

#include <iostream>

#include "base/error.h"
#include "experiments/adapted_model.h"
#include "experiments/run_memory.h"
#include "models/memory_folder.h"
#include "store/checkpoint_reader.h"

namespace braid {

void export_memory_folder(const std::string& checkpoint, const std::string& folder) {
  const CheckpointReader reader(checkpoint, verify_checkpoint(checkpoint));
  const RunConfig config = run_config_of(reader.manifest(), checkpoint);
  if (!config.memory.enabled()) {
    throw UsageError(str(checkpoint, ": expected a checkpoint of a run with hash memory ([memory]), found none in it"));
  }
  const NgramHash hash(config.memory, canonical_tokens(config), static_cast<uint64_t>(config.train.seed), at::kCPU);
  write_memory_folder(folder, config.model, config.memory, hash,
                      [&](const std::string& name, const std::vector<int64_t>& shape, std::span<float> out) {
                        const Extent extent(shape.begin(), shape.end());
                        reader.read(whole_tensor("model/" + name, h5::Element::float32, extent),
                                    reinterpret_cast<std::byte*>(out.data()));
                      });
  std::cout << folder << ": a memory of " << hash.table_rows() << " rows and "
            << hash_memory_dense_elements(config.model, config.memory) << " other parameters, of " << checkpoint
            << "\n";
}

}  // namespace braid
