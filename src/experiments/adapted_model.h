// SPDX-License-Identifier: Apache-2.0
// A model and, perhaps, an adapter and a hash memory on top, ready to be asked: what generations, evaluations and exports begin with.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "experiments/run_config.h"
#include "models/hf_config.h"
#include "nn/gist.h"
#include "nn/hash_memory.h"
#include "nn/lora_model.h"
#include "store/checkpoint_lookup.h"
#include "store/checkpoint_manifest.h"

namespace braid {

// Where it comes from: a Hugging Face folder, with or without an adapter of peft's format and a memory (braid checkpoint
// export --memory); or a run.
struct ModelSource {
  std::string model, adapter;
  std::string run;          // a run's folder or one of its checkpoints; then the other folders are empty
  CheckpointChoice choice;  // of the run's checkpoints; the newest that verifies unless it says otherwise
  // How the base model's projections are held: "" as the run or the folder has them, "nf4" in 4 bits, as the defaults of
  // the [model] table have it, "none" as a folder of dense weights stores them. What bitsandbytes quantised stays so.
  std::string quantise;
  std::string memory;
};

struct AdaptedModel {
  HfConfig origin;                      // of the base model's folder; of a run that began with none its shape alone
  std::string checkpoint;               // of the run, "" without one
  DataConfig data;                      // how the run put prompts; as [data] begins without a run
  ModelConfig shape;                    // its path: the folder whose tokenizer and chat template are the model's, or ""
  std::vector<int64_t> stop_ids;        // tokens that end a text, as generation_config.json names them
  std::vector<std::string> notes;       // checkpoints that were skipped because they are damaged
  std::unique_ptr<Transformer> model;   // frozen
  std::unique_ptr<LoraModel> adapters;  // on, and frozen; null without any
  std::unique_ptr<HashMemory> memory;   // likewise
  std::unique_ptr<GistModel> gists;     // likewise

  // Adapters that act on gists alone change nothing else.
  bool is_adapted() const { return (adapters && !adapters->config().on_gists()) || memory; }
  bool is_part() const { return model->config().heads != shape.heads; }  // a rank's (experiments/model_part.h)
  void set_enabled(bool enabled);  // both
};

// Every rank loads the whole model; nothing has memory for gradients. A run with [lora] is the base model that it began
// with and the checkpoint's adapters; likewise one whose [memory] alone was trained. UsageError names file, field or tensor; also where that base model has changed
// since. Error: a checkpoint that was asked for is damaged, or all are.
AdaptedModel load_adapted_model(const ModelSource& source, Precision precision, const at::Device& device);

// The configuration of the run that a checkpoint is of; of an imported model folder its shape alone. UsageError: a
// checkpoint that has neither.
RunConfig run_config_of(const Manifest& manifest, const std::string& checkpoint);

// Where the base model of a run's checkpoint lies: model.path, or where it was found when the run began.
std::string base_folder_of(const Manifest& manifest, const ModelConfig& model);

// The folder with the tokenizer of a checkpoint's run: beside its checkpoints, else where the model came from, "" for none.
std::string tokenizer_folder_of(const std::string& checkpoint, const Manifest& manifest);

}  // namespace braid
