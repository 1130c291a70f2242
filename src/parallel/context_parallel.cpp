// SPDX-License-Identifier: Apache-2.0
#include "parallel/context_parallel.h"

#include "nn/precompiled.h"
#include "parallel/ring_attention.h"
#include "parallel/zigzag.h"

namespace braid {

void join_context_parts(Transformer& model, Communicator& comm) {
  if (comm.size() == 1) return;
  const ContextPart part{comm.rank(), comm.size()};
  model.share_tokens({[part](int64_t tokens) { return zigzag_positions(tokens, part); },
                      [&comm](const at::Tensor& packed, int64_t heads) { return ring_attention(packed, heads, comm); }});
}

AttentionContext context_of_parts(int64_t tokens, const at::Tensor& starts, const at::TensorOptions& ids, Communicator& comm) {
  AttentionContext context;
  context.position_ids = at::tensor(zigzag_positions(tokens, {comm.rank(), comm.size()}), ids);
  if (!starts.defined()) return context;
  context.position_ids = context.position_ids - starts;
  context.product = [starts, &comm](const at::Tensor& packed, int64_t heads) { return ring_attention(packed, heads, comm, starts); };
  return context;
}

}  // namespace braid
