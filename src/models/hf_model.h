// SPDX-License-Identifier: Apache-2.0
// A Hugging Face model folder as a model that computes: its dense weights go into parameters (models/hf_weights.h), its
// projections in NF4 become the sources of the linear layers. These are taken as bitsandbytes left them, or made from
// dense tensors of the folder: one after the other, so that there is never more than one of them beside the model.
#pragma once

#include "models/hf_weights.h"

namespace braid {

// UsageError names file, tensor and what was expected.
void load_hf_model(const HfFiles& files, Transformer& model, const HfLoadOptions& options = {});
// The same of a model whose parameters hold boxes of those of a `whole` one, or of what is here of its depth; the folder has
// all. What is made in 4 bits is made of whole matrices.
void load_hf_part(const HfFiles& files, const ModelConfig& whole, Transformer& model, const HfLoadOptions& options = {},
                  const HfElsewhere* elsewhere = nullptr);

}  // namespace braid
