// SPDX-License-Identifier: Apache-2.0
#include "cli/checkpoint_peft.h"

#include <iostream>

#include "base/error.h"
#include "experiments/run_config.h"
#include "models/peft_adapter.h"
#include "store/checkpoint_reader.h"
#include "train/memory.h"

namespace braid {

void export_peft_folder(const std::string& checkpoint, const std::string& folder) {
  const CheckpointReader reader(checkpoint, verify_checkpoint(checkpoint));
  const RunConfig config = stored_run_config(reader.manifest().text("config"), checkpoint);
  if (!config.lora.enabled()) {
    throw UsageError(str(checkpoint, ": expected a checkpoint of a run with adapters ([lora]), found none in it"));
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
