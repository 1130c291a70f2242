// SPDX-License-Identifier: Apache-2.0
#include "infer/fused_blocks.h"

#include <algorithm>

#include "kernels/skinny_product.h"
#include "nn/kernel_call.h"
#include "nn/lora.h"
#include "nn/precompiled.h"
#include "nn/quantised_weight.h"

namespace braid {

namespace {

bool is_plain(const WeightSource* source) {
  if (dynamic_cast<const DenseWeight*>(source)) return true;
  const auto* quantised = dynamic_cast<const Nf4Weight*>(source);
  return quantised && quantised->columns() % kernels::nf4_block == 0;
}

bool is_adapted(const Linear& layer) { return layer.adapter && layer.adapter->enabled(); }

// Terms that are added, without magnitudes.
bool is_plain(const Adapter& adapter) {
  const auto* lora = dynamic_cast<const LoraAdapter*>(&adapter);
  return lora && std::none_of(lora->parts().begin(), lora->parts().end(), [](const LoraPart& part) { return part.magnitude; });
}

bool is_plain(const Linear& layer) {
  const bool simply_adapted = !is_adapted(layer) || is_plain(*layer.adapter);
  return simply_adapted && !layer.bias && !layer.partition.enter && !layer.partition.leave && is_plain(layer.source.get());
}

// What more rows than a handful are computed by as fast: tiles, in bfloat16.
bool suits_tiles(const Linear& layer) {
  if (!dynamic_cast<const DenseWeight*>(layer.source.get())) return false;
  const at::Tensor weight = layer.source->weight();
  return kernels::suits_tiles(element_of(weight), weight.size(1));
}

// As many as the products of GPUs take.
bool has_few_parts(const Linear& layer) {
  const auto* quantised = dynamic_cast<const Nf4Weight*>(layer.source.get());
  return !quantised || quantised->parts().size() <= 3;
}

bool is_quantised(const Linear& layer) { return dynamic_cast<const Nf4Weight*>(layer.source.get()) != nullptr; }

template <class Holds>
bool all_linears(const Block& block, const Holds& holds) {
  return holds(block.attention.qkv) && holds(block.attention.out) && holds(block.mlp.in) && holds(block.mlp.out);
}

kernels::DecodeMatrix matrix_of(const Linear& layer) {
  kernels::DecodeMatrix matrix;
  if (const auto* quantised = dynamic_cast<const Nf4Weight*>(layer.source.get())) {
    matrix.rows = quantised->rows(), matrix.columns = quantised->columns();
    for (const Nf4Tensor& part : quantised->parts()) matrix.quantised.push_back(part.matrix());
  } else {
    const at::Tensor weight = layer.source->weight();
    matrix.rows = weight.size(0), matrix.columns = weight.size(1), matrix.dense = weight.const_data_ptr();
  }
  if (!is_adapted(layer)) return matrix;
  for (const LoraPart& part : dynamic_cast<const LoraAdapter&>(*layer.adapter).parts()) {
    matrix.terms.push_back({part.first_row, part.out, part.a->compute.size(0), part.a->compute.const_data_ptr(),
                            part.b->compute.const_data_ptr(), static_cast<float>(part.scale)});
  }
  return matrix;
}

// [B or 1, 1, T, d], a row for each of the step or one for all, to [R, d].
at::Tensor rows_of(const at::Tensor& table, const kernels::DecodeShape& shape) {
  return table.reshape({-1, shape.head_width}).expand({shape.rows, shape.head_width}).contiguous();
}

kernels::DecodeLayer layer_of(const Block& block) {
  return {block.norm1.weight->master.const_data_ptr<float>(),
          block.norm2.weight->master.const_data_ptr<float>(),
          matrix_of(block.attention.qkv),
          matrix_of(block.attention.out),
          matrix_of(block.mlp.in),
          matrix_of(block.mlp.out)};
}

}  // namespace

bool takes_fused_blocks(Transformer& model, int64_t rows) {
  const ModelConfig& config = model.config();
  const bool on_gpu = model.device().is_cuda();
  const bool suits = (on_gpu || model.device().is_cpu()) && model.parameters().precision() != Precision::fp64 && config.is_llama() &&
                     !config.has_streams() && !model.block_input();
  const auto all = [&](const auto& holds) {
    return std::all_of(model.blocks().begin(), model.blocks().end(), [&](const Block& b) { return all_linears(b, holds); });
  };
  if (!suits || rows > (on_gpu ? kernels::most_decode_rows : kernels::most_decode_rows_tiled)) return false;
  if (!all([](const Linear& layer) { return is_plain(layer); })) return false;
  if (on_gpu) return all([](const Linear& layer) { return has_few_parts(layer) && !is_adapted(layer); });
  if (rows <= kernels::most_decode_rows) return true;
  return all([&](const Linear& layer) {
    return is_quantised(layer) ? rows <= kernels::most_decode_rows_nf4 : suits_tiles(layer);
  });
}

at::Tensor run_fused_blocks(Transformer& model, const at::Tensor& x, const RotaryTable& rotary,
                            const kernels::DecodeAttention& attention) {
  const ModelConfig& config = model.config();
  const kernels::DecodeShape shape{x.numel() / config.width, config.width, config.heads, config.key_value_heads(),
                                   config.head_width(), config.mlp_width, config.norm_epsilon};
  std::vector<kernels::DecodeLayer> layers;
  for (const Block& block : model.blocks()) layers.push_back(layer_of(block));
  const at::Tensor cosine = rows_of(rotary.cosine, shape), sine = rows_of(rotary.sine, shape);
  at::Tensor y = x.clone(at::MemoryFormat::Contiguous);
  const bool bf16 = model.parameters().precision() == Precision::bf16;
  const kernels::Element element = bf16 ? kernels::Element::bfloat16 : kernels::Element::float32;
  const kernels::Launch launch = launch_for(y);
  at::Tensor scratch = at::empty({kernels::decode_scratch_bytes(launch, element, shape)}, y.options().dtype(at::kByte));
  kernels::decode_step(launch, element, shape, layers, cosine.const_data_ptr<float>(), sine.const_data_ptr<float>(), attention,
                       y.mutable_data_ptr<float>(), scratch.mutable_data_ptr());
  return y;
}

}  // namespace braid
