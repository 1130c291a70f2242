// SPDX-License-Identifier: Apache-2.0
#include "experiments/run_memory.h"

#include "comm/agreement.h"
#include "experiments/fine_tuning.h"
#include "parallel/sharded_rows.h"
#include "text/canonical_ids.h"

namespace braid {

CanonicalTokens canonical_tokens(const RunConfig& config) {
  if (!config.memory.compress || config.data.kind != "examples") return distinct_tokens(config.model.vocabulary);
  const FineTuningForm form = open_form(config.data, config.model);
  CanonicalIds canonical = canonical_ids(form.tokenizer, config.model.vocabulary);
  const int64_t pad = form.padding ? canonical.ids.at(static_cast<size_t>(*form.padding)) : canonical.count;
  return {std::move(canonical.ids), canonical.count, pad};
}

std::unique_ptr<HashMemory> memory_for(Transformer& model, const RunConfig& config, TrainRanks ranks) {
  if (!config.memory.enabled()) return nullptr;
  CanonicalTokens tokens;
  agree(ranks.host, [&] { tokens = canonical_tokens(config); });
  const auto seed = static_cast<uint64_t>(config.train.seed);
  const NgramHash hash(config.memory, tokens, seed, model.device());
  const RowRange mine = row_range(hash.table_rows(), ranks.host.rank(), ranks.host.size());
  auto memory = std::make_unique<HashMemory>(model, config.memory, hash, seed, mine);
  if (ranks.host.size() > 1) memory->use_store(std::make_unique<ShardedRows>(memory->rows(), ranks.host, ranks.data));
  return memory;
}

}  // namespace braid
