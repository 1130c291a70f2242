// SPDX-License-Identifier: Apache-2.0
#include "nn/projection.h"

namespace braid {

namespace {

Linear* linear_of(Transformer& model, const ProjectionShape& shape) {
  if (shape.layer < 0) return &model.head();
  Block& block = model.blocks()[shape.layer];
  if (shape.weight.ends_with("attn.in.weight")) return &block.attention.qkv;
  if (shape.weight.ends_with("attn.out.weight")) return &block.attention.out;
  return shape.weight.ends_with("ff1.weight") ? &block.mlp.in : &block.mlp.out;
}

}  // namespace

std::vector<Projection> projections(Transformer& model) {
  std::vector<Projection> all;
  for (const ProjectionShape& shape : projection_shapes(model.config()))
    all.push_back({shape, linear_of(model, shape)});
  return all;
}

}  // namespace braid
