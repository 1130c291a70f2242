// SPDX-License-Identifier: Apache-2.0
// Small models that lie on all ranks of the world, beside whole ones.
#pragma once

#include <memory>

#include "../nn/support.h"
#include "mpi_world.h"
#include "parallel/tensor_parallel.h"

namespace braid::test {

// Cut evenly by 1 to 4 ranks, but for the vocabulary, which is not.
inline ModelConfig even_model(const std::string& dialect, const std::string& residual = "residual") {
  ModelConfig config = small_model(dialect, residual);
  config.layers = 2;
  config.width = config.mlp_width = 24;
  config.heads = 12;
  config.kv_heads = 0;
  if (config.is_llama()) {
    config.own_head_width = 2;
    config.heads = 24;
    config.kv_heads = 12;
  }
  return config;
}

// This rank's part of it, in double.
inline std::unique_ptr<Transformer> cut_model(const ModelConfig& whole, TokensBetween tokens = TokensBetween::all) {
  auto model = std::make_unique<Transformer>(tensor_share(whole, world().rank(), world().size()), Precision::fp64, at::kCPU);
  join_tensor_parts(*model, whole, world().host(), tokens);
  return model;
}

// What `parameter` holds of the whole tensor.
inline at::Tensor part_of(const at::Tensor& whole, const Parameter& parameter) {
  std::vector<at::Tensor> parts;
  for (const Box& box : parameter.boxes()) {
    at::Tensor part = whole;
    for (size_t axis = 0; axis < box.shape.size(); ++axis) part = part.narrow(int64_t(axis), box.origin[axis], box.shape[axis]);
    parts.push_back(part);
  }
  return at::cat(parts);
}

}  // namespace braid::test
