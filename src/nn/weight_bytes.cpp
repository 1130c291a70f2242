// SPDX-License-Identifier: Apache-2.0
#include "nn/weight_bytes.h"

#include <map>

#include "base/large_pages.h"
#include "nn/hash_memory.h"
#include "nn/lora.h"
#include "nn/precompiled.h"
#include "nn/quantised_weight.h"
#include "nn/stacked_weight.h"

namespace braid {

namespace {

class Storages {
 public:
  void add(const at::Tensor& tensor) {
    if (tensor.defined())
      bytes_[tensor.storage().unsafeGetStorageImpl()] = static_cast<int64_t>(tensor.storage().nbytes());
  }
  void add(const Parameter* parameter) {
    if (!parameter) return;
    for (const at::Tensor* tensor : {&parameter->master, &parameter->compute, &parameter->gradient}) add(*tensor);
  }
  void add(const Nf4Tensor& matrix) {
    for (const at::Tensor* tensor : {&matrix.packed, &matrix.absmax, &matrix.codes, &matrix.map}) add(*tensor);
  }
  void add(const WeightSource& source) {
    if (const auto* dense = dynamic_cast<const DenseWeight*>(&source)) return add(&dense->parameter());
    if (const auto* frozen = dynamic_cast<const FrozenWeight*>(&source)) return add(frozen->weight());
    if (const auto* nf4 = dynamic_cast<const Nf4Weight*>(&source)) {
      for (const Nf4Tensor& part : nf4->parts()) add(part);
    }
    if (const auto* stacked = dynamic_cast<const StackedWeight*>(&source)) {
      for (const StackedPart& part : stacked->parts()) add(*part.source);
    }
  }
  void add(const Linear& layer) {
    if (layer.source) add(*layer.source);
    add(layer.bias);
    const auto* lora = dynamic_cast<const LoraAdapter*>(layer.adapter.get());
    if (!lora) return;
    for (const LoraPart& part : lora->parts()) {
      for (const Parameter* parameter : {part.a, part.b, part.magnitude}) add(parameter);
    }
  }
  int64_t total() const {
    int64_t sum = 0;
    for (const auto& [storage, bytes] : bytes_) sum += bytes;
    return sum;
  }
  void gather_into_large_pages() const {
    for (const auto& [storage, bytes] : bytes_) {
      if (storage->device().is_cpu()) braid::gather_into_large_pages(storage->data(), bytes);
    }
  }

 private:
  std::map<const c10::StorageImpl*, int64_t> bytes_;
};

Storages storages_of(Transformer& model) {
  Storages storages;
  for (const Parameter& parameter : model.parameters().all()) storages.add(&parameter);
  storages.add(model.embedding().tokens);
  storages.add(model.head());
  for (const Block& block : model.blocks()) {
    for (const Linear* layer : {&block.attention.qkv, &block.attention.out, &block.mlp.in, &block.mlp.out}) {
      storages.add(*layer);
    }
  }
  if (auto* memory = dynamic_cast<HashMemory*>(model.block_input())) {
    for (const Parameter& parameter : memory->parameters().all()) storages.add(&parameter);
    storages.add(&memory->rows());
  }
  return storages;
}

}  // namespace

int64_t weight_bytes(Transformer& model) { return storages_of(model).total(); }

void gather_weights_into_large_pages(Transformer& model) { storages_of(model).gather_into_large_pages(); }

}  // namespace braid
