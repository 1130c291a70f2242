// SPDX-License-Identifier: Apache-2.0
#include "experiments/adapted_model.h"

#include <filesystem>

#include "base/error.h"
#include "experiments/model_part.h"
#include "experiments/run_memory.h"
#include "models/hf_export.h"
#include "models/hf_model.h"
#include "models/memory_folder.h"
#include "models/peft_adapter.h"
#include "models/peft_config.h"
#include "nn/precompiled.h"
#include "nn/weight_bytes.h"
#include "parallel/tensor_adapters.h"
#include "parallel/tensor_parallel.h"
#include "store/checkpoint_reader.h"
#include "store/crc32c.h"
#include "store/element_convert.h"
#include "train/memory.h"

namespace braid {

namespace fs = std::filesystem;

namespace {

// Where a model goes: whole to `device`, or a part to each rank of `parts`.
struct Place {
  Precision precision;
  at::Device device;
  Communicator* parts;
};

void refuse_parts(const Place& place, bool there, const std::string& what) {
  if (place.parts && there) throw UsageError(str("--tensor: ", what, " cannot be cut over ranks"));
}

std::unique_ptr<Transformer> make_transformer(const ModelConfig& whole, const Place& place) {
  if (!place.parts) return std::make_unique<Transformer>(whole, place.precision, place.device, Weights::frozen);
  Communicator& parts = *place.parts;
  check_tensor_cut(whole, parts.size());
  const ModelConfig share = tensor_share(whole, parts.rank(), parts.size());
  auto model = std::make_unique<Transformer>(share, place.precision, place.device, Weights::frozen);
  join_tensor_parts(*model, whole, parts);
  return model;
}

// Without values yet.
void put_adapters(const LoraConfig& lora, const Place& place, AdaptedModel& loaded) {
  refuse_parts(place, lora.dora, "an adapter with DoRA, whose norms are of whole rows,");
  refuse_parts(place, !lora.saved_modules.empty(), "an adapter with modules that were trained in full, as peft stores them,");
  loaded.adapters = std::make_unique<LoraModel>(*loaded.model, lora, 0, Weights::frozen);
  if (place.parts) TensorAdapters(*loaded.adapters, *loaded.model, loaded.shape, 0, *place.parts);
}

AdaptedModel of_folder(const ModelSource& source, const Place& place) {
  AdaptedModel loaded;
  loaded.origin = read_hf_config(source.model);
  loaded.shape = loaded.origin.model;
  loaded.shape.path = source.model;
  if (!loaded.shape.is_quantised() && !source.quantise.empty()) loaded.shape.quantise = source.quantise;
  loaded.stop_ids = loaded.origin.stop_ids;
  const HfFiles files(source.model);
  loaded.model = make_transformer(loaded.shape, place);
  load_hf_part(files, loaded.shape, *loaded.model);
  if (!source.adapter.empty()) {
    put_adapters(read_peft_config(source.adapter, loaded.shape), place, loaded);
    load_peft_weights(source.adapter, loaded.adapters->parameters());
  }
  if (!source.memory.empty()) loaded.memory = load_memory_folder(source.memory, *loaded.model);
  return loaded;
}

// The one that is asked for, or the newest that is whole.
Manifest verified(const ModelSource& source, AdaptedModel& loaded) {
  std::vector<std::string> candidates;
  if (source.choice.best || source.choice.step) {
    candidates = {find_checkpoint(source.run, source.choice)};
  } else {
    candidates = find_checkpoints(source.run).checkpoints;
  }
  for (const std::string& candidate : candidates) {
    loaded.checkpoint = candidate;
    try {
      return verify_checkpoint(candidate);
    } catch (const Error& problem) {
      if (candidate == candidates.back()) throw;
      loaded.notes.push_back(str("checkpoint skipped: ", problem.what()));
    }
  }
  throw UsageError(str(source.run, ": has no checkpoints"));
}

// A box of a tensor, whatever float type it is stored in.
at::Tensor read_box(const CheckpointReader& reader, const std::string& name, const Parameter& parameter, const Box& box) {
  TensorSlice slice = whole_tensor(name, reader.element(name), parameter.shape);
  slice.box = {box.origin, box.shape};
  slice.count = elements_of(box.shape);
  std::vector<std::byte> stored(slice.bytes());
  reader.read(slice, stored.data());
  at::Tensor values = at::empty(box.shape, at::kFloat);
  convert_elements(slice.element, stored.data(), h5::Element::float32, static_cast<std::byte*>(values.mutable_data_ptr()),
                   static_cast<size_t>(slice.count));
  return values;
}

// Of the tensors model/NAME of a checkpoint what is here.
void read_parameters(const CheckpointReader& reader, ParameterSet& parameters) {
  const at::NoGradGuard no_gradient;
  for (Parameter& parameter : parameters.all()) {
    const std::string name = "model/" + parameter.name;
    std::vector<at::Tensor> boxes;
    for (const Box& box : parameter.boxes()) boxes.push_back(read_box(reader, name, parameter, box));
    const at::Tensor values = boxes.size() == 1 ? boxes.front() : at::cat(boxes);
    parameter.master.copy_(values);
    if (!parameter.compute.is_same(parameter.master)) parameter.compute.copy_(values);
  }
}

void require_same_base(const HfFiles& files, const Manifest& manifest, const std::string& checkpoint) {
  const std::string& before = manifest.text(model_digest_attribute);
  const std::string now = digest_text(files.digest());
  if (before.empty() || before == now) return;
  throw UsageError(str(files.folder(), ": expected the weights that ", checkpoint, " was trained on, ", before, ", found ", now));
}

void load_base(const CheckpointReader& reader, const RunConfig& config, AdaptedModel& loaded) {
  const std::string base = base_folder_of(reader.manifest(), config.model);
  const HfFiles files(base);
  require_same_base(files, reader.manifest(), loaded.checkpoint);
  load_hf_part(files, config.model, *loaded.model);
}

void load_adapters(const CheckpointReader& reader, const RunConfig& config, const Place& place, AdaptedModel& loaded) {
  put_adapters(config.lora, place, loaded);
  read_parameters(reader, loaded.adapters->parameters());
}

void load_memory(const CheckpointReader& reader, RunConfig config, AdaptedModel& loaded) {
  if (!loaded.shape.path.empty()) config.model.path = loaded.shape.path;  // of the tokenizer
  const auto seed = static_cast<uint64_t>(config.train.seed);
  const NgramHash hash(config.memory, canonical_tokens(config), seed, loaded.model->device());
  loaded.memory = std::make_unique<HashMemory>(*loaded.model, config.memory, hash, seed);
  read_parameters(reader, loaded.memory->parameters());
  read_parameters(reader, loaded.memory->table());
}

// config.json as it was when the run began; of a run from nothing the shape. Texts may be as long as the model takes,
// even where it was trained on shorter ones (model.context).
HfConfig origin_of(const Manifest& manifest, RunConfig& config, const std::string& checkpoint) {
  const std::string& text = manifest.text(hf_config_attribute);
  HfConfig origin;
  if (!text.empty()) {
    origin = parse_hf_config(text, manifest.text(hf_generation_attribute), checkpoint);
    config.model.context = origin.model.context;
  }
  origin.model = config.model;
  return origin;
}

// As the source asks for it, if the base model's folder leaves a choice.
void hold_base(RunConfig& config, const ModelSource& source, const Manifest& manifest) {
  if (source.quantise.empty() || trains_model(config.lora, config.memory)) return;
  if (!read_hf_config(base_folder_of(manifest, config.model)).model.is_quantised()) config.model.quantise = source.quantise;
}

AdaptedModel of_run(const ModelSource& source, const Place& place) {
  AdaptedModel loaded;
  const Manifest manifest = verified(source, loaded);
  RunConfig config = run_config_of(manifest, loaded.checkpoint);
  hold_base(config, source, manifest);
  if (!config.model.is_llama()) {
    throw UsageError(str(loaded.checkpoint, ": expected a model of model.dialect = \"llama\", found ", config.model.dialect));
  }
  loaded.origin = origin_of(manifest, config, loaded.checkpoint);
  loaded.stop_ids = loaded.origin.stop_ids;
  loaded.data = config.data;
  loaded.shape = config.model;
  loaded.shape.path = tokenizer_folder_of(loaded.checkpoint, manifest);
  loaded.model = make_transformer(config.model, place);
  const CheckpointReader reader(loaded.checkpoint, manifest);
  if (trains_model(config.lora, config.memory)) {
    read_parameters(reader, loaded.model->parameters());
  } else {
    load_base(reader, config, loaded);
  }
  if (config.lora.enabled()) load_adapters(reader, config, place, loaded);
  if (config.memory.enabled()) load_memory(reader, config, loaded);
  if (config.gist.enabled()) {
    const GistSettings settings{config.gist.count, loaded.adapters.get(), config.gist.reconstructs()};
    loaded.gists = std::make_unique<GistModel>(*loaded.model, settings, Weights::frozen);
    read_parameters(reader, loaded.gists->parameters());
  }
  return loaded;
}

}  // namespace

void AdaptedModel::set_enabled(bool enabled) {
  if (adapters && !adapters->config().on_gists()) adapters->set_enabled(enabled);
  if (memory) memory->set_enabled(enabled);
}

RunConfig run_config_of(const Manifest& manifest, const std::string& checkpoint) {
  RunConfig config;
  const std::string &text = manifest.text("config"), &imported = manifest.text(hf_config_attribute);
  if (!text.empty()) {
    ConfigDocument::from_text(text, checkpoint + ": its configuration").read_into(config);
  } else if (!imported.empty()) {
    config.model = parse_hf_config(imported, "", checkpoint).model;
  } else {
    throw UsageError(str(checkpoint, ": expected the configuration of a model, found none: only a run's checkpoints and ",
                         "imported model folders have one"));
  }
  return config;
}

std::string base_folder_of(const Manifest& manifest, const ModelConfig& model) {
  std::error_code problem;
  const std::string& recorded = manifest.text(model_path_attribute);
  return fs::is_directory(recorded, problem) ? recorded : model.path;
}

std::string tokenizer_folder_of(const std::string& checkpoint, const Manifest& manifest) {
  const fs::path run = fs::weakly_canonical(checkpoint).parent_path().parent_path();
  std::error_code problem;
  if (fs::is_directory(run / "tokenizer", problem)) return (run / "tokenizer").string();
  const std::string& origin = manifest.text(model_path_attribute);
  return fs::is_directory(origin, problem) ? origin : "";
}

namespace {

AdaptedModel load(const ModelSource& source, const Place& place) {
  AdaptedModel loaded = source.run.empty() ? of_folder(source, place) : of_run(source, place);
  gather_weights_into_large_pages(*loaded.model);
  return loaded;
}

}  // namespace

AdaptedModel load_adapted_model(const ModelSource& source, Precision precision, const at::Device& device) {
  return load(source, {precision, device, nullptr});
}

AdaptedModel load_model_part(const ModelSource& source, Precision precision, const at::Device& device, Communicator& parts) {
  return load(source, {precision, device, &parts});
}

}  // namespace braid
