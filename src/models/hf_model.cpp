// SPDX-License-Identifier: Apache-2.0
#include "models/hf_model.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "base/error.h"
#include "models/bnb_tensors.h"
#include "nn/precompiled.h"
#include "nn/projection.h"
#include "nn/quantised_weight.h"
#include "nn/stacked_weight.h"

namespace braid {

namespace {

at::Tensor copy_of(const HfFiles::Found& found, at::ScalarType type, const at::Device& device) {
  const auto bytes = static_cast<int64_t>(found.tensor->bytes());
  at::Tensor host = at::empty({bytes / int64_t(at::elementSize(type))}, type);
  std::memcpy(host.mutable_data_ptr(), found.data(), size_t(bytes));
  return host.to(device);
}

// As bitsandbytes left it.
Nf4Tensor take(const BnbMatrix& matrix, const HfTensor& tensor, const at::Device& device) {
  Nf4Tensor taken;
  taken.rows = tensor.shape[0];
  taken.columns = tensor.shape[1];
  taken.packed = copy_of(matrix.packed, at::kByte, device);
  if (!matrix.is_nested()) {
    taken.absmax = copy_of(matrix.absmax, at::kFloat, device);
    return taken;
  }
  taken.codes = copy_of(matrix.absmax, at::kByte, device);
  taken.absmax = copy_of(matrix.nested_absmax, at::kFloat, device);
  taken.map = copy_of(matrix.nested_map, at::kFloat, device);
  taken.offset = matrix.offset;
  return taken;
}

// What a packed weight holds of one of its projections in the whole model, as a box of that projection.
Box place_in(const Parameter& weight, const ProjectionShape& whole) {
  for (const Box& box : weight.boxes()) {
    const int64_t first = std::max(box.origin[0], whole.first_row);
    const int64_t end = std::min(box.origin[0] + box.shape[0], whole.first_row + whole.out);
    if (first < end) return {{first - whole.first_row, box.origin[1]}, {end - first, box.shape[1]}};
  }
  throw Error(str(whole.module, ": nothing of it is here"));
}

struct Loader {
  const HfFiles& files;
  Transformer& model;
  const HfLoadOptions& options;
  QuantisedProjections nf4;
  bool quantised_before = false;  // the folder's projections are in NF4
  at::ScalarType compute = at::kFloat;

  at::Tensor dense(const HfTensor& tensor, const Box& box, at::ScalarType type) const {
    at::Tensor rows = at::empty(box.shape, at::TensorOptions(type).device(model.device()));
    read_hf_box(files.at(tensor.name), box, rows, options);
    return rows;
  }

  // bitsandbytes rounds nothing before it quantises: 16 bits stay what they are, and float32 holds all other types.
  Nf4Tensor quantised(const HfTensor& tensor) const {
    if (quantised_before) return take(find_bnb_matrix(files, tensor), tensor, model.device());
    const bool narrow = files.at(tensor.name).tensor->element == h5::Element::bfloat16;
    const Box all{{0, 0}, tensor.shape};
    return quantise_nf4(dense(tensor, all, narrow ? at::kBFloat16 : at::kFloat), model.config().double_quantise);
  }

  // Of the projections of one linear layer, as they are in the whole model.
  std::shared_ptr<WeightSource> source(const Parameter& weight, std::span<const ProjectionShape> projections) const {
    std::vector<Nf4Tensor> matrices;
    std::vector<StackedPart> parts;
    for (const ProjectionShape& projection : projections) {
      const HfTensor tensor = hf_tensor(projection);
      const Box box = place_in(weight, projection);
      if (nf4.has(projection)) {
        matrices.push_back(box_of(quantised(tensor), box));
        parts.push_back({std::make_shared<Nf4Weight>(std::vector{matrices.back()}, compute), box.shape[0]});
      } else {
        parts.push_back({std::make_shared<FrozenWeight>(dense(tensor, box, compute)), box.shape[0]});
      }
    }
    if (matrices.size() == parts.size()) return std::make_shared<Nf4Weight>(std::move(matrices), compute);
    return std::make_shared<StackedWeight>(std::move(parts));
  }
};

}  // namespace

void load_hf_model(const HfFiles& files, Transformer& model, const HfLoadOptions& options) {
  load_hf_part(files, model.config(), model, options);
}

void load_hf_part(const HfFiles& files, const ModelConfig& whole, Transformer& model, const HfLoadOptions& options,
                  const HfElsewhere* elsewhere) {
  load_hf_weights(files, whole, model.parameters(), options, elsewhere);
  if (!model.config().is_quantised()) return;
  const at::NoGradGuard no_gradient;
  const Loader loader{files,
                      model,
                      options,
                      QuantisedProjections(model.config()),
                      holds_bnb_matrices(files),
                      compute_type(model.parameters().precision())};
  const std::vector<Projection> all = projections(model);
  const std::vector<ProjectionShape> shapes = projection_shapes(whole);
  for (auto first = all.begin(); first != all.end();) {
    const auto last = std::find_if(first, all.end(), [&](const Projection& p) { return p.linear != first->linear; });
    const Parameter& weight = model.parameters().named(first->weight);
    const std::span of_layer(shapes.begin() + (first - all.begin()), shapes.begin() + (last - all.begin()));
    if (!weight.stored) first->linear->source = loader.source(weight, of_layer);
    const int64_t layer = first->layer;
    first = last;
    const bool block_ends = layer >= 0 && (first == all.end() || first->layer != layer);
    if (block_ends && elsewhere && elsewhere->take_block) elsewhere->take_block(layer);
  }
}

}  // namespace braid
