// SPDX-License-Identifier: Apache-2.0
#include "nn/model_config.h"

#include "base/error.h"

namespace braid {

void ModelConfig::describe(ConfigSection& s) {
  s.choice("dialect", dialect, {"poc", "llama"}, "poc: LayerNorm, learned positions, GELU; llama: RMSNorm, RoPE, SwiGLU");
  s.value("layers", layers, "transformer blocks", 1, 100000);
  s.value("width", width, "D, width of the residual stream", 1, 1 << 20);
  s.value("heads", heads, "attention heads", 1, 1 << 16);
  s.value("kv_heads", kv_heads, "key and value heads (llama); 0: as many as heads", 0, 1 << 16);
  s.value("mlp_width", mlp_width, "inner width of the MLP", 1, 1 << 22);
  s.value("vocabulary", vocabulary, "V, token ids are in [0, V)", 2, int64_t{1} << 31);
  s.value("context", context, "T, tokens of one sample", 1, int64_t{1} << 31);
  s.choice("attention", attention, {"standard", "sdpa"}, "standard: explicit scores and mask; sdpa: fused");
  s.choice("residual", residual, {"residual", "hc", "mhc"}, "residual connections");
  s.value("streams", streams, "S, residual streams of hc and mhc", 1, 8);
  s.value("sinkhorn_iterations", sinkhorn_iterations, "K, row and column normalisations of mhc", 1, 10000);
  s.value("tie_embeddings", tie_embeddings, "the head uses the token embedding's weight");
  s.value("rope_theta", rope_theta, "base of the rotary angles (llama)", 1.0);
  s.value("norm_epsilon", norm_epsilon, "added to the variance in norms", 0.0, 1.0);
}

namespace {

void require(bool good, const ConfigDocument& document, const std::string& key, const std::string& problem) {
  if (!good) throw UsageError(str(document.where(key), ": ", key, ": ", problem));
}

}  // namespace

void ModelConfig::check(const ConfigDocument& document) const {
  require(width % heads == 0, document, "model.heads", str(heads, " heads do not divide the width ", width));
  require(heads % key_value_heads() == 0, document, "model.kv_heads",
          str(key_value_heads(), " key/value heads do not divide the ", heads, " heads"));
  require(is_llama() || kv_heads == 0 || kv_heads == heads, document, "model.kv_heads",
          "grouped-query attention needs dialect = \"llama\"");
  require(!is_llama() || head_width() % 2 == 0, document, "model.heads",
          str("rotary positions need an even head width, got ", head_width()));
}

}  // namespace braid
