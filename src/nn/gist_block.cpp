// SPDX-License-Identifier: Apache-2.0
#include "nn/gist_block.h"

#include "nn/precompiled.h"
#include "nn/recompute.h"

namespace braid {

at::Tensor keys_and_values(const at::Tensor& packed, const Attention& layer) {
  const auto s = packed.sizes();
  const at::Tensor both = packed.narrow(2, layer.heads, 2 * layer.kv_heads);
  return both.view({s[0], s[1], 2, layer.kv_heads, s[3]}).permute({0, 2, 3, 1, 4});
}

at::Tensor finish_block(const at::Tensor& x, const at::Tensor& attended, const Block& block) {
  const auto [u, normalised] = add_and_normalise(x, attended, block.norm2);
  return u + feed_forward(normalised, block.mlp);
}

at::Tensor kept_by_blocks(const std::vector<Block>& blocks, at::Tensor x, const EnterBlock& enter, const KeepingBlock& run) {
  std::vector<at::Tensor> kept;
  for (const Block& block : blocks) {
    const bool last = kept.size() + 1 == blocks.size();
    const auto out = run_entered(enter, std::ssize(kept), [&] { return run(block, x, last); });
    x = out.front();
    kept.push_back(out.back());
  }
  return at::stack(kept, 1);
}

at::Tensor run_block_behind(const at::Tensor& x, const Block& block, const AttentionContext& context, Past& past) {
  const Attention& layer = block.attention;
  const at::Tensor packed = project_heads(normalise(x, block.norm1), layer, context);
  const at::Tensor own = keys_and_values(packed, layer);
  past.keys = at::cat({past.keys, own.select(1, 0)}, 2);
  past.values = at::cat({past.values, own.select(1, 1)}, 2);
  const at::Tensor q = packed.narrow(2, 0, layer.heads).transpose(1, 2);
  const at::Tensor y = attention_product(layer.kind, q, past.keys, past.values, context).transpose(1, 2);
  return finish_block(x, linear(y.reshape({x.size(0), x.size(1), layer.heads * layer.head_width}), layer.out), block);
}

at::Tensor recompute_block_behind(const at::Tensor& x, const Block& block, const AttentionContext& context, Past& past,
                                  const Around& around) {
  const auto body = [&block, context, around](const std::vector<at::Tensor>& in) -> std::vector<at::Tensor> {
    const std::shared_ptr<void> held = around ? around() : nullptr;
    Past grown{in[1], in[2]};
    const at::Tensor y = run_block_behind(in[0], block, context, grown);
    return {y, grown.keys, grown.values};
  };
  const std::vector<at::Tensor> out = recomputed(body, {x, past.keys, past.values});
  past = {out[1], out[2]};
  return out[0];
}

}  // namespace braid
