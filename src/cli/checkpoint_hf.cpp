// SPDX-License-Identifier: Apache-2.0
#include "cli/checkpoint_hf.h"

#include <charconv>
#include <filesystem>
#include <iostream>

#include "base/error.h"
#include "experiments/run_config.h"
#include "models/hf_export.h"
#include "train/memory.h"

namespace braid {

namespace fs = std::filesystem;

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

ModelConfig model_of(const Manifest& manifest, const std::string& checkpoint) {
  const std::string& config = manifest.text("config");
  if (!config.empty()) return stored_run_config(config, checkpoint).model;
  const std::string& hf = manifest.text(hf_config_attribute);
  if (!hf.empty()) return parse_hf_config(hf, "", checkpoint).model;
  throw UsageError(str(checkpoint, ": expected the configuration of a model, found none: only a run's checkpoints and ",
                       "imported model folders have one"));
}

namespace {

// Beside the run's checkpoints, else where the model came from.
std::string tokenizer_of(const std::string& checkpoint, const Manifest& manifest) {
  const fs::path run = fs::weakly_canonical(checkpoint).parent_path().parent_path();
  if (fs::is_directory(run / "tokenizer")) return (run / "tokenizer").string();
  const std::string& origin = manifest.text(model_path_attribute);
  return fs::is_directory(origin) ? origin : "";
}

bool remembers(const Manifest& manifest, const std::string& checkpoint) {
  return stored_run_config(manifest.text("config"), checkpoint).memory.enabled();
}

}  // namespace

void export_hf_folder(const std::string& checkpoint, const std::string& folder, std::optional<h5::Element> element,
                      int64_t shard_bytes) {
  const Manifest manifest = read_manifest(checkpoint);
  const HfExported done = export_hf(checkpoint, model_of(manifest, checkpoint), folder,
                                    {element, shard_bytes, tokenizer_of(checkpoint, manifest)});
  std::cout << folder << ": " << done.weights.tensors << " tensors, " << human_bytes(done.weights.bytes) << " in "
            << done.files << (done.files == 1 ? " file" : " files") << ", of " << checkpoint << "; "
            << (done.copied.empty() ? "no tokenizer" : "with tokenizer") << "\n";
  // It was trained with the model, and what is written here answers otherwise without it.
  if (!remembers(manifest, checkpoint)) return;
  std::cout << folder << ": without the run's hash memory, which export --memory writes\n";
}

}  // namespace braid
