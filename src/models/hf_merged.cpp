// SPDX-License-Identifier: Apache-2.0
#include "models/hf_merged.h"

#include <algorithm>

#include "base/error.h"
#include "nn/precompiled.h"
#include "store/element_convert.h"

namespace braid {

namespace {

h5::Element element_of(const at::Tensor& values) {
  if (values.scalar_type() == at::kBFloat16) return h5::Element::bfloat16;
  return values.scalar_type() == at::kDouble ? h5::Element::float64 : h5::Element::float32;
}

// What the model computes with: for embedding and head that may be a copy which was trained in full.
at::Tensor values_of(Transformer& model, const std::string& parameter) {
  if (parameter == "embedding.weight") return model.embedding().tokens->master;
  if (parameter == "head.weight") return dynamic_cast<DenseWeight&>(*model.head().source).parameter().master;
  return model.parameters().named(parameter).master;
}

void read_run(const at::Tensor& values, const TensorSlice& run, h5::Element element, std::byte* to) {
  const at::Tensor piece = values.view({-1}).narrow(0, run.first, run.count).cpu();
  convert_elements(element_of(piece), static_cast<const std::byte*>(piece.const_data_ptr()), element, to,
                   static_cast<size_t>(run.count));
}

// Of a tied pair one may have become a copy of its own.
ModelConfig merged_shape(const ModelConfig& model, const LoraConfig& lora) {
  ModelConfig shape = model;
  const bool on_head = std::find(lora.targets.begin(), lora.targets.end(), "lm_head") != lora.targets.end();
  if (shape.tie_embeddings && on_head && !lora.saves("embed_tokens")) {
    throw UsageError("merging: lora.targets has lm_head, which is the embedding in this model: both would "
                     "change; keep the adapter");
  }
  shape.tie_embeddings = shape.tie_embeddings && lora.saved_modules.empty();
  return shape;
}

}  // namespace

HfExported export_merged_hf(Transformer& model, LoraModel& adapters, const HfConfig& origin, const std::string& folder,
                            const HfExportOptions& options) {
  if (model.config().is_quantised()) {
    throw UsageError("merging: expected a base model of dense weights, found one in 4 bits; keep the adapter");
  }
  const ModelConfig shape = merged_shape(model.config(), adapters.config());
  adapters.merge();
  HfExportSource source;
  source.element = [&](const std::string& parameter) { return element_of(values_of(model, parameter)); };
  source.read = [&](const TensorSlice& run, h5::Element element, std::byte* to) {
    read_run(values_of(model, run.name), run, element, to);
  };
  source.config = origin.text;
  source.generation = origin.generation_text;
  return export_hf(source, shape, folder, options);
}

}  // namespace braid
