// SPDX-License-Identifier: Apache-2.0
#include "nn/frozen_tensors.h"

#include "nn/precompiled.h"
#include "nn/quantised_weight.h"
#include "nn/stacked_weight.h"

namespace braid {

namespace {

// NF4's map of 256 numbers stays: it is no part of the matrix.
void add(WeightSource& source, std::vector<FrozenTensor>& all) {
  if (const auto* dense = dynamic_cast<DenseWeight*>(&source)) {
    Parameter& parameter = dense->parameter();
    if (!parameter.trainable) all.push_back({{&parameter.compute, &parameter.master}});
  }
  if (auto* frozen = dynamic_cast<FrozenWeight*>(&source)) all.push_back({{&frozen->tensor()}});
  if (auto* nf4 = dynamic_cast<Nf4Weight*>(&source)) {
    for (Nf4Tensor& part : nf4->parts()) {
      all.push_back({{&part.packed}});
      all.push_back({{&part.absmax}});
      if (part.codes.defined()) all.push_back({{&part.codes}});
    }
  }
  if (auto* stacked = dynamic_cast<StackedWeight*>(&source)) {
    for (const StackedPart& part : stacked->parts()) add(*part.source, all);
  }
}

}  // namespace

std::vector<FrozenTensor> frozen_tensors(const Block& block) {
  std::vector<FrozenTensor> all;
  for (const Linear* layer : {&block.attention.qkv, &block.attention.out, &block.mlp.in, &block.mlp.out}) add(*layer->source, all);
  return all;
}

}  // namespace braid
