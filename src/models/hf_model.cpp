// SPDX-License-Identifier: Apache-2.0
#include "models/hf_model.h"

#include <algorithm>
#include <cstring>

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

struct Loader {
  const HfFiles& files;
  Transformer& model;
  const HfLoadOptions& options;
  QuantisedProjections nf4;
  bool quantised_before = false;  // the folder's projections are in NF4
  at::ScalarType compute = at::kFloat;

  at::Tensor dense(const HfTensor& tensor, at::ScalarType type) const {
    at::Tensor rows = at::empty(tensor.shape, at::TensorOptions(type).device(model.device()));
    read_hf_box(files.at(tensor.name), {{0, 0}, tensor.shape}, rows, options);
    return rows;
  }

  // bitsandbytes rounds nothing before it quantises: 16 bits stay what they are, and float32 holds all other types.
  Nf4Tensor quantised(const HfTensor& tensor) const {
    if (quantised_before) return take(find_bnb_matrix(files, tensor), tensor, model.device());
    const bool narrow = files.at(tensor.name).tensor->element == h5::Element::bfloat16;
    return quantise_nf4(dense(tensor, narrow ? at::kBFloat16 : at::kFloat), model.config().double_quantise);
  }

  // `first` to `last`: the projections of one linear layer.
  template <class Iterator>
  std::shared_ptr<WeightSource> source(Iterator first, Iterator last) const {
    std::vector<Nf4Tensor> matrices;
    std::vector<StackedPart> parts;
    for (auto p = first; p != last; ++p) {
      const HfTensor tensor = hf_tensor(*p);
      if (nf4.has(*p)) {
        matrices.push_back(quantised(tensor));
        parts.push_back({std::make_shared<Nf4Weight>(std::vector{matrices.back()}, compute), p->out});
      } else {
        parts.push_back({std::make_shared<FrozenWeight>(dense(tensor, compute)), p->out});
      }
    }
    if (matrices.size() == parts.size()) return std::make_shared<Nf4Weight>(std::move(matrices), compute);
    return std::make_shared<StackedWeight>(std::move(parts));
  }
};

}  // namespace

void load_hf_model(const HfFiles& files, Transformer& model, const HfLoadOptions& options) {
  load_hf_weights(files, model.config(), model.parameters(), options);
  if (!model.config().is_quantised()) return;
  const at::NoGradGuard no_gradient;
  const Loader loader{files,
                      model,
                      options,
                      QuantisedProjections(model.config()),
                      holds_bnb_matrices(files),
                      compute_type(model.parameters().precision())};
  const std::vector<Projection> all = projections(model);
  for (auto first = all.begin(); first != all.end();) {
    const auto last = std::find_if(first, all.end(), [&](const Projection& p) { return p.linear != first->linear; });
    if (!model.parameters().named(first->weight).stored) first->linear->source = loader.source(first, last);
    first = last;
  }
}

}  // namespace braid
