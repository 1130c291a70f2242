// SPDX-License-Identifier: Apache-2.0
#include "cli/checkpoint_peft.h"

#include <iostream>

#include "base/error.h"
#include "experiments/adapted_model.h"
#include "models/peft_adapter.h"
#include "store/checkpoint_reader.h"
#include "train/memory.h"

namespace braid {

namespace {

RunConfig config_of(const Manifest& manifest, const std::string& checkpoint) {
  RunConfig config = run_config_of(manifest, checkpoint);
  if (config.lora.enabled()) return config;
  throw UsageError(str(checkpoint, ": expected a checkpoint of a run with adapters ([lora]), found none in it"));
}

}  // namespace

void export_peft_folder(const std::string& checkpoint, const std::string& folder) {
  const CheckpointReader reader(checkpoint, verify_checkpoint(checkpoint));
  const RunConfig config = config_of(reader.manifest(), checkpoint);
  if (config.lora.on_gists()) {
    throw UsageError(str(checkpoint, ": its adapters act on gists alone (lora.rows), which peft's files cannot say"));
  }
  write_peft_adapter(folder, config.model.path, config.model, config.lora,
                     [&](const AdapterTensor& tensor, std::span<float> out) {
                       reader.read(whole_tensor("model/" + tensor.name, h5::Element::float32, tensor.shape),
                                   reinterpret_cast<std::byte*>(out.data()));
                     });
  std::cout << folder << ": adapters of " << lora_elements(config.model, config.lora) << " parameters, of " << checkpoint
            << "\n";
}

}  // namespace braid
