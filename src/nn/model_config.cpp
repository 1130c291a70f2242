// SPDX-License-Identifier: Apache-2.0
#include "nn/model_config.h"

#include "base/error.h"

namespace braid {

void ModelConfig::describe(ConfigSection& s) {
  s.choice(
      "dialect", dialect, {"poc", "llama"},
      "poc: LayerNorm, learned positions, GELU, biases (softwarewrighter/mHC-poc); llama: RMSNorm, rotary positions, "
      "SwiGLU, grouped-query attention, no biases");
  s.value("layers", layers, "transformer blocks, each attention and MLP [blocks]", 1, 100000);
  s.value("width", width, "D, width of the residual stream; heads must divide it [elements]", 1, 1 << 20);
  s.value("heads", heads, "attention heads, each of width / heads elements [heads]", 1, 1 << 16);
  s.value("kv_heads", kv_heads,
          "key and value heads, each shared by heads / kv_heads query heads (llama); 0: as many as heads [heads]", 0,
          1 << 16);
  s.value("mlp_width", mlp_width, "inner width of the MLP [elements]", 1, 1 << 22);
  s.value("vocabulary", vocabulary, "V, how many different tokens; ids are 0 to V - 1 [tokens]", 2, int64_t{1} << 31);
  s.value("context", context, "T, length of one sample, and as far as attention looks back [tokens]", 1,
          int64_t{1} << 31);
  s.choice("attention", attention, {"standard", "sdpa"},
           "standard: explicit scores and mask; sdpa: fused. The same function, but the poc dialect draws other first "
           "values for each (see attention_start)");
  s.choice("attention_start", attention_start, {"own", "standard", "sdpa"},
           "whose first values the poc dialect draws: own, those of attention, as the public program does; or always "
           "those of one kind, so that both kinds can be compared from equal weights");
  s.choice(
      "residual", residual, {"residual", "hc", "mhc"},
      "how blocks are joined: residual, one stream; hc, hyper-connections; mhc, the same with mixing matrices made "
      "doubly stochastic by Sinkhorn (arXiv 2512.24880)");
  s.value("streams", streams, "S, residual streams of hc and mhc [streams]", 1, 8);
  s.value("sinkhorn_iterations", sinkhorn_iterations, "K, how often mhc normalises rows, then columns [iterations]", 1,
          10000);
  s.value("tie_embeddings", tie_embeddings, "whether the head uses the token embedding's weight");
  s.value("rope_theta", rope_theta,
          "base of the rotary angles: pair i of a head turns by rope_theta^(-2i / head width) a token (llama) [1]",
          1.0);
  s.value("norm_epsilon", norm_epsilon, "added to the variance (poc) or mean square (llama) in norms [1]", 0.0, 1.0);
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
