// SPDX-License-Identifier: Apache-2.0
#include "nn/quantised_shapes.h"

#include <algorithm>

#include "nn/precompiled.h"
#include "nn/projection.h"
#include "nn/quantised_weight.h"
#include "nn/stacked_weight.h"

namespace braid {

namespace {

Nf4Tensor shape_of(int64_t rows, int64_t columns, bool nested) {
  const auto empty = [](int64_t count, at::ScalarType type) {
    return at::empty({count}, at::TensorOptions(type).device(at::kMeta));
  };
  const int64_t blocks = kernels::nf4_blocks(rows * columns);
  Nf4Tensor tensor;
  tensor.rows = rows;
  tensor.columns = columns;
  tensor.packed = empty(kernels::nf4_bytes(rows * columns), at::kByte);
  tensor.absmax = empty(nested ? kernels::nf4_nested_blocks(rows * columns) : blocks, at::kFloat);
  if (nested) tensor.codes = empty(blocks, at::kByte);
  return tensor;
}

}  // namespace

void give_quantised_shapes(Transformer& model, const ModelConfig& whole) {
  const QuantisedProjections nf4(whole);
  const at::ScalarType compute = compute_type(model.parameters().precision());
  const std::vector<Projection> all = projections(model);
  const std::vector<ProjectionShape> of_whole = projection_shapes(whole);
  for (auto first = all.begin(); first != all.end();) {
    const auto last = std::find_if(first, all.end(), [&](const Projection& p) { return p.linear != first->linear; });
    std::vector<StackedPart> parts;
    for (auto each = first; each != last; ++each) {
      const ProjectionShape& uncut = of_whole[size_t(each - all.begin())];
      const bool nested = whole.double_quantise && uncut.out == each->out && uncut.in == each->in;
      if (nf4.has(*each)) {
        parts.push_back({std::make_shared<Nf4Weight>(std::vector{shape_of(each->out, each->in, nested)}, compute), each->out});
      } else {
        const auto options = at::TensorOptions(compute).device(at::kMeta);
        parts.push_back({std::make_shared<FrozenWeight>(at::empty({each->out, each->in}, options)), each->out});
      }
    }
    if (!model.parameters().named(first->weight).stored) first->linear->source = std::make_shared<StackedWeight>(std::move(parts));
    first = last;
  }
}

}  // namespace braid
