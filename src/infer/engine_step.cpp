// SPDX-License-Identifier: Apache-2.0
#include "infer/engine_step.h"

#include <algorithm>

#include "base/error.h"
#include "infer/fused_blocks.h"
#include "infer/layer_pass.h"
#include "infer/one_pass.h"
#include "kernels/paged_attention.h"
#include "nn/kernel_call.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

// Views of a step's numbers.
struct StepInputs {
  at::Tensor ids;        // [R] int64
  at::Tensor positions;  // [R]: what keys are turned by
  at::Tensor rows;       // [R, 2]: PagedRow
  at::Tensor tables;     // [pieces, table width]
  at::Tensor wanted;     // [W] rows, where they are named
  int64_t longest = 0;
};

StepInputs inputs_of(const at::Tensor& numbers, const StepShape& shape) {
  const int64_t R = shape.rows, P = shape.tables, width = shape.table_width;
  const auto parts = numbers.split_with_sizes({R, R, 2 * R, P * width, shape.named()});
  return {parts[0], parts[1], parts[2].view({R, 2}), parts[3].view({P, width}), parts[4], shape.longest};
}

// What is before each row in its own text, which lies in the cache's blocks.
class PagedRowPast final : public RowPast {
 public:
  PagedRowPast(PagedCache& cache, const StepInputs& in) : cache_(cache), in_(in) {}

  at::Tensor ids(const at::Tensor& own, int64_t count) override {
    return behind(cache_.ids.flatten(), own.flatten(), count);
  }
  at::Tensor heard(int64_t number, const at::Tensor& own, int64_t count) override {
    return behind(cache_.heard[static_cast<size_t>(number)].flatten(0, 1), own.select(1, 0), count);
  }

 private:
  // pool [slots, …], own [R, …], to [R, count + 1, …].
  at::Tensor behind(at::Tensor pool, const at::Tensor& own, int64_t count) const {
    pool.index_copy_(0, slots(0).flatten(), own);
    const at::Tensor wanted = slots(count);
    return pool.index_select(0, wanted.flatten()).unflatten(0, wanted.sizes());
  }
  // [R, count + 1] of the pool; a text's first slot where there is no token.
  at::Tensor slots(int64_t count) const {
    const at::Tensor back = at::arange(count, -1, -1, in_.rows.options());
    const at::Tensor places = (in_.rows.select(1, 1).unsqueeze(1) - back).clamp_min(0);
    const at::Tensor blocks = at::floor_divide(places, cache_.block_tokens);
    const at::Tensor own = in_.tables.index_select(0, in_.rows.select(1, 0)).gather(1, blocks);
    return own * cache_.block_tokens + places.remainder(cache_.block_tokens);
  }

  PagedCache& cache_;
  const StepInputs& in_;
};

// The state with what the memory, null for none, adds before the layer's block.
ResidualState remembering(ResidualConnection& residual, const ResidualState& state, HashMemory* memory, int64_t layer,
                          RowPast& past) {
  if (!memory) return state;
  const at::Tensor added = memory->addition(layer, state.carried().transpose(0, 1), past);
  return added.defined() ? residual.add(state, added.transpose(0, 1), layer * residual.sublayers_per_block()) : state;
}

kernels::PagedShape paged_shape(const Attention& layer, const StepInputs& in, const PagedCache& cache) {
  return {in.ids.numel(), layer.heads, layer.kv_heads, layer.head_width, cache.block_tokens, in.tables.size(1), in.longest};
}

kernels::PagedInputs paged_inputs(const void* packed, const StepInputs& in) {
  return {packed, static_cast<const kernels::PagedRow*>(in.rows.const_data_ptr()), in.tables.const_data_ptr<int64_t>()};
}

// packed [1, R, H + 2 H_kv, d] to [1, R, H d]; its keys and values go into the layer's blocks.
at::Tensor attend_paged(const at::Tensor& packed, const Attention& layer, const StepInputs& in, const PagedCache& cache,
                        at::Tensor keys, at::Tensor values) {
  const kernels::PagedShape shape = paged_shape(layer, in, cache);
  const kernels::PagedInputs inputs = paged_inputs(packed.const_data_ptr(), in);
  const kernels::Launch launch = launch_for(packed);
  const kernels::Element element = element_of(packed);
  at::Tensor out = at::empty({1, shape.rows, layer.heads * layer.head_width}, packed.options());
  at::Tensor scratch =
      at::empty({kernels::paged_scratch_bytes(launch, shape, element)}, packed.options().dtype(at::kByte));
  kernels::store_paged(launch, shape, element, inputs, keys.mutable_data_ptr(), values.mutable_data_ptr());
  kernels::paged_attention(launch, shape, element, inputs, keys.const_data_ptr(), values.const_data_ptr(),
                           out.mutable_data_ptr(), scratch.mutable_data_ptr());
  return out;
}

// x [1, R, D] through all blocks at once.
at::Tensor run_fused(Transformer& model, PagedCache& cache, const StepInputs& in, const RotaryTable& rotary,
                     const at::Tensor& x) {
  const kernels::PagedShape shape = paged_shape(model.blocks().front().attention, in, cache);
  const kernels::Element element = element_of(cache.keys);
  const kernels::Launch launch = launch_for(cache.keys);
  const int64_t layer_bytes = static_cast<int64_t>(cache.keys.nbytes()) / cache.keys.size(0);
  auto* const keys = static_cast<std::byte*>(cache.keys.mutable_data_ptr());
  auto* const values = static_cast<std::byte*>(cache.values.mutable_data_ptr());
  at::Tensor scratch = at::empty({kernels::paged_scratch_bytes(launch, shape, element)}, x.options().dtype(at::kByte));
  void* const work = scratch.mutable_data_ptr();
  const auto store = [&](int64_t layer, const void* packed, kernels::DecodeThread thread) {
    if (thread.index > 0) return;
    kernels::store_paged(launch, shape, element, paged_inputs(packed, in), keys + layer * layer_bytes,
                         values + layer * layer_bytes);
  };
  const auto attend = [&](int64_t layer, const void* packed, void* out, kernels::DecodeThread thread) {
    const kernels::PagedInputs inputs = paged_inputs(packed, in);
    const std::byte *const its_keys = keys + layer * layer_bytes, *const its_values = values + layer * layer_bytes;
    if (launch.place == kernels::Place::cuda) {
      return kernels::paged_attention(launch, shape, element, inputs, its_keys, its_values, out, work);
    }
    kernels::paged_attention_part(shape, element, inputs, its_keys, its_values, out, thread.index, thread.count);
  };
  return run_fused_blocks(model, x, rotary, {store, attend});
}

// The blocks one after the other, `memory` (or null) before each.
ResidualState run_blocks(Transformer& model, PagedCache& cache, const StepInputs& in, const AttentionContext& context,
                         ResidualState state, HashMemory* memory, RowPast& past) {
  for (int64_t layer = 0; layer < model.config().layers; ++layer) {
    state = remembering(model.residual(), state, memory, layer, past);
    const at::Tensor keys = cache.keys[layer], values = cache.values[layer];
    state = advance_layer(model, state, layer, [&](const at::Tensor& x, const Attention& attention) {
      const at::Tensor packed = project_heads_once(x, attention, context).contiguous();
      return linear(attend_paged(packed, attention, in, cache, keys, values), attention.out);
    });
  }
  return state;
}

RotaryTable rotary_of(const at::Tensor& positions, Transformer& model, const RotaryTable* of_positions) {
  if (!of_positions) return rotary_table(positions, model.config(), master_type(model.parameters().precision()));
  return {of_positions->cosine.index_select(2, positions), of_positions->sine.index_select(2, positions)};
}

}  // namespace

at::Tensor run_step_numbers(Transformer& model, PagedCache& cache, const at::Tensor& numbers, const StepShape& shape,
                            const RotaryTable* of_positions) {
  const at::NoGradGuard no_gradient;
  const StepInputs in = inputs_of(numbers, shape);
  AttentionContext context;
  if (model.config().is_llama()) context.rotary = rotary_of(in.positions, model, of_positions);
  ResidualConnection& residual = model.residual();
  HashMemory* memory = memory_of(model);
  PagedRowPast past(cache, in);
  if (memory) memory->enter({in.ids.unsqueeze(1), in.rows.slice(1, 1)}, past);
  ResidualState state = residual.enter(embed(in.ids.unsqueeze(0), model.embedding(), in.positions));
  if (takes_fused_blocks(model, in.ids.numel())) {
    state.input = run_fused(model, cache, in, *context.rotary, state.input);
  } else {
    state = run_blocks(model, cache, in, context, std::move(state), memory, past);
  }
  if (shape.wanted == 0) return at::empty({0, model.config().vocabulary}, state.input.options());
  at::Tensor last = residual.leave(state);
  if (!shape.all_wanted) last = last.index_select(1, in.wanted);
  return linear(normalise(last, model.final_norm()), model.head()).squeeze(0);
}

at::Tensor run_step(Transformer& model, PagedCache& cache, std::span<const StepPiece> pieces) {
  const StepShape shape = shape_of(pieces, cache.block_tokens);
  const std::vector<int64_t> told = step_numbers(pieces, shape, 0);
  const at::Tensor numbers = at::tensor(at::ArrayRef<int64_t>(told), at::kLong).to(model.device());
  return run_step_numbers(model, cache, numbers, shape);
}

}  // namespace braid
