// SPDX-License-Identifier: Apache-2.0
// Hash memory as two files of a folder. memory_config.json: the form, as the [memory] table names it, and the model's
// streams, if it keeps several.
// memory.safetensors: the parameters under their names (float32); canonical_ids [V], multipliers [layers, max_order]
// and moduli [layers, orders * heads] (int64), from which the rows follow (nn/ngram_hash.h).
#pragma once

#include <functional>
#include <span>
#include <string>

#include "nn/hash_memory.h"

namespace braid {

// Fills `out` with the elements of a parameter, by name and shape.
using ReadMemoryTensor =
    std::function<void(const std::string& name, const std::vector<int64_t>& shape, std::span<float> out)>;

// Writes both files; the weights are replaced when all are there. Error when a write fails.
void write_memory_folder(const std::string& folder, const ModelConfig& model, const HashMemoryConfig& config,
                         const NgramHash& hash, const ReadMemoryTensor& read);
void write_memory_folder(const std::string& folder, const ModelConfig& model, HashMemory& memory);

// Puts the memory of a folder on a model, all rows here. UsageError: a field, a tensor or a shape is missing or wrong,
// or the model has more tokens than the memory knows.
std::unique_ptr<HashMemory> load_memory_folder(const std::string& folder, Transformer& model);

}  // namespace braid
