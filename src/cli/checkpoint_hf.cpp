// SPDX-License-Identifier: Apache-2.0
#include "cli/checkpoint_hf.h"

#include <charconv>
#include <iostream>

#include "base/error.h"
#include "experiments/adapted_model.h"
#include "models/hf_files.h"
#include "models/hf_merged.h"
#include "train/memory.h"

namespace braid {

int64_t parse_shard_size(const std::string& text) {
  int64_t number = 0, unit = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string suffix(end, text.data() + text.size());
  if (suffix.empty()) unit = 1;
  if (suffix == "KB") unit = 1000;
  if (suffix == "MB") unit = 1000 * 1000;
  if (suffix == "GB") unit = 1000 * 1000 * 1000;
  int64_t bytes = 0;
  if (problem != std::errc{} || unit == 0 || number < 1 || __builtin_mul_overflow(number, unit, &bytes)) {
    throw UsageError(str("--shard-size ", text, ": expected a size like 5GB, 200MB or 10KB"));
  }
  return bytes;
}

namespace {

void tell(const std::string& folder, const HfExported& done, const std::string& checkpoint) {
  std::cout << folder << ": " << done.weights.tensors << " tensors, " << human_bytes(done.weights.bytes) << " in "
            << done.files << (done.files == 1 ? " file" : " files") << ", of " << checkpoint << "; "
            << (done.copied.empty() ? "no tokenizer" : "with tokenizer") << "\n";
}

// It was trained with the model, and what is written here answers otherwise without it.
void tell_of_memory(const std::string& folder, const RunConfig& run) {
  if (run.memory.enabled()) std::cout << folder << ": without the run's hash memory, which export --memory writes\n";
}

// What the base model's files hold, float16 as float32.
h5::Element element_of_base(const Manifest& manifest, const RunConfig& run) {
  const HfFiles files(base_folder_of(manifest, run.model));
  const bool narrow = files.at("model.embed_tokens.weight").tensor->element == h5::Element::bfloat16;
  return narrow ? h5::Element::bfloat16 : h5::Element::float32;
}

}  // namespace

void export_hf_folder(const std::string& checkpoint, const std::string& folder, HfExportOptions options) {
  const Manifest manifest = read_manifest(checkpoint);
  const RunConfig run = run_config_of(manifest, checkpoint);
  if (run.lora.enabled()) {
    throw UsageError(str(checkpoint, ": holds adapters, no whole model: --peft DIR writes them, --hf DIR --merge the base ",
                         "model with them merged"));
  }
  if (!trains_model(run.lora, run.memory)) {
    throw UsageError(str(checkpoint, ": holds a hash memory, no whole model: --memory DIR writes it"));
  }
  options.tokenizer_folder = tokenizer_folder_of(checkpoint, manifest);
  tell(folder, export_hf(checkpoint, run.model, folder, options), checkpoint);
  tell_of_memory(folder, run);
}

void export_merged_folder(const std::string& checkpoint, const std::string& folder, HfExportOptions options) {
  const Manifest manifest = read_manifest(checkpoint);
  const RunConfig run = run_config_of(manifest, checkpoint);
  if (!run.lora.enabled()) throw UsageError(str(checkpoint, ": --merge: a run without adapters, which --hf writes as it is"));
  if (!options.element) options.element = element_of_base(manifest, run);
  const Precision precision = options.element == h5::Element::bfloat16 ? Precision::bf16 : Precision::fp32;
  const ModelSource source{"", "", checkpoint, {}, "none", ""};
  const AdaptedModel loaded = load_adapted_model(source, precision, at::Device(at::kCPU));
  options.tokenizer_folder = tokenizer_folder_of(checkpoint, manifest);
  tell(folder, export_merged_hf(*loaded.model, *loaded.adapters, loaded.origin, folder, options), checkpoint);
  tell_of_memory(folder, run);
}

}  // namespace braid
