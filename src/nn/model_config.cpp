// SPDX-License-Identifier: Apache-2.0
#include "nn/model_config.h"

#include <algorithm>

#include "base/error.h"

namespace braid {

void RopeScaling::describe(ConfigSection& s) {
  s.choice("rope_scaling", kind, {"none", "linear", "llama3", "yarn"},
           "how rotary angles are stretched for a longer context than the model was first trained on (llama), as "
           "Hugging Face's rope_type of the same name does");
  s.value("rope_factor", factor, "how many times longer the context is than rope_original_context [1]", 1.0);
  s.value("rope_original_context", original_context, "llama3 and yarn: the context of the first training [tokens]", 0,
          int64_t{1} << 31);
  s.value("rope_low_frequency", low_frequency,
          "llama3: pairs that turn less often than this in rope_original_context are stretched in full [turns]", 0.0);
  s.value("rope_high_frequency", high_frequency,
          "llama3: pairs that turn more often than this in rope_original_context stay as they are [turns]", 0.0);
  s.value("rope_beta_fast", beta_fast, "yarn: pairs that turn more often than this stay as they are [turns]", 0.0);
  s.value("rope_beta_slow", beta_slow, "yarn: pairs that turn less often than this are stretched in full [turns]", 0.0);
  s.value("rope_attention", attention,
          "yarn: what queries and keys are multiplied by; 0: 0.1 ln(rope_factor) + 1 [1]", 0.0);
}

std::vector<LayerRange> ModelConfig::held_ranges() const { return held.empty() ? std::vector<LayerRange>{{0, layers}} : held; }

bool ModelConfig::holds(int64_t layer) const {
  const std::vector<LayerRange> ranges = held_ranges();
  return std::any_of(ranges.begin(), ranges.end(), [&](const LayerRange& range) { return range.has(layer); });
}

int64_t ModelConfig::held_layers() const {
  int64_t count = 0;
  for (const LayerRange& range : held_ranges()) count += range.count;
  return count;
}

void ModelConfig::describe(ConfigSection& s) {
  s.value("path", path,
          "folder of a Hugging Face Llama whose weights the run begins with; the other keys of [model] then come from its "
          "config.json, and one that contradicts it is refused; empty: first values are drawn");
  s.choice(
      "dialect", dialect, {"poc", "llama"},
      "poc: LayerNorm, learned positions, GELU, biases (softwarewrighter/mHC-poc); llama: RMSNorm, rotary positions, "
      "SwiGLU, grouped-query attention, no biases");
  s.value("layers", layers, "transformer blocks, each attention and MLP [blocks]", 1, 100000);
  s.value("width", width, "D, width of the residual stream; heads must divide it [elements]", 1, 1 << 20);
  s.value("heads", heads, "attention heads, each of width / heads elements [heads]", 1, 1 << 16);
  s.value("head_width", own_head_width, "width of one head (llama); 0: width / heads [elements]", 0, 1 << 16);
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
  s.choice("connection_form", connection_form, {"poc", "paper"},
           "what hc and mhc are: poc, one connection per block with coefficients that are the same for all tokens, around "
           "the block's own skips (softwarewrighter/mHC-poc); paper, one per attention and MLP, without those skips, with "
           "coefficients of each token (arXiv 2409.19606, arXiv 2512.24880)");
  s.value("streams", streams, "S, residual streams of hc and mhc; the paper's form of one is the plain residual [streams]",
          1, 8);
  s.value("sinkhorn_iterations", sinkhorn_iterations,
          "K, how often mhc normalises rows, then columns; in the paper's form columns, then rows [iterations]", 1, 10000);
  s.choice("manifold", manifold, {"sinkhorn", "permutations"},
           "how the paper's form of mhc makes mixing matrices doubly stochastic: sinkhorn, nearly, by iterations; "
           "permutations, exactly, as weighted sums of all S! permutations, up to 4 streams (arXiv 2601.05732)");
  s.choice("connection_start", connection_start, {"home", "zeros", "identity", "zeros_random", "identity_random"},
           "how the paper's form of mhc begins: home, each sublayer reads nearly one stream, and streams are hardly mixed; "
           "identity, the same mixing, but all streams are read alike; zeros, all are averaged, too. Streams that begin "
           "alike in these two part by rounding only: identity_random and zeros_random draw the projections that "
           "coefficients come from, and they part at once");
  s.choice("stream_exit", stream_exit, {"sum", "mean", "learned"},
           "what the last norm of the paper's form reads of the streams; learned: a sum whose weights are sigmoids, "
           "of each token");
  s.value("tie_embeddings", tie_embeddings, "whether the head uses the token embedding's weight");
  s.value("rope_theta", rope_theta,
          "base of the rotary angles: pair i of a head turns by rope_theta^(-2i / head width) a token (llama) [1]",
          1.0);
  rope.describe(s);
  s.value("norm_epsilon", norm_epsilon, "added to the variance (poc) or mean square (llama) in norms [1]", 0.0, 1.0);
  s.choice("quantise", quantise, {"none", "nf4"},
           "nf4: the projections of a model from model.path are held in 4 bits, as bitsandbytes does, and adapters are "
           "trained on them (QLoRA, arXiv 2305.14314); a folder that bitsandbytes quantised is always nf4");
  s.value("double_quantise", double_quantise, "with nf4: whether the absmax of blocks are held in 8 bits, too");
  s.value("dense_modules", dense_modules,
          "with nf4: projections that are not quantised, by the rules of bitsandbytes' llm_int8_skip_modules: the end "
          "of a name, or a regular expression for its first parts");
}

namespace {

void require(bool good, const ConfigDocument& document, const std::string& key, const std::string& problem) {
  if (!good) throw UsageError(str(document.where(key), ": ", key, ": ", problem));
}

}  // namespace

void ModelConfig::check_connection(const ConfigDocument& document) const {
  const bool of_paper = is_paper_form() || residual == "residual";
  const std::string needs = "needs connection_form = \"paper\"";
  require(of_paper || manifold == "sinkhorn", document, "model.manifold", str(manifold, " ", needs));
  require(of_paper || connection_start == "home", document, "model.connection_start", str(connection_start, " ", needs));
  require(of_paper || stream_exit != "learned", document, "model.stream_exit", str(stream_exit, " ", needs));
  require(manifold != "permutations" || residual != "mhc" || streams <= 4, document, "model.manifold",
          str("permutations take at most 4 streams, of which there are 24; found ", streams, " streams"));
}

void ModelConfig::check(const ConfigDocument& document) const {
  require(width % heads == 0, document, "model.heads", str(heads, " heads do not divide the width ", width));
  require(heads % key_value_heads() == 0, document, "model.kv_heads",
          str(key_value_heads(), " key/value heads do not divide the ", heads, " heads"));
  require(is_llama() || kv_heads == 0 || kv_heads == heads, document, "model.kv_heads",
          "grouped-query attention needs dialect = \"llama\"");
  require(!is_llama() || head_width() % 2 == 0, document, "model.heads",
          str("rotary positions need an even head width, got ", head_width()));
  require(is_llama() || rope.kind == "none", document, "model.rope_scaling", "rotary positions need dialect = \"llama\"");
  require(is_llama() || !is_quantised(), document, "model.quantise", "nf4 needs dialect = \"llama\"");
  check_connection(document);
  const bool knows_original = rope.kind == "llama3" || rope.kind == "yarn";
  require(!knows_original || rope.original_context > 0, document, "model.rope_original_context",
          str("rope_scaling = \"", rope.kind, "\" needs the context of the first training"));
  require(rope.kind != "llama3" || (rope.low_frequency > 0 && rope.high_frequency > rope.low_frequency), document,
          "model.rope_high_frequency", "expected more than rope_low_frequency, and that above 0");
  require(rope.kind != "yarn" || (rope.beta_slow > 0 && rope.beta_fast >= rope.beta_slow && rope_theta > 1), document,
          "model.rope_beta_fast", "expected at least rope_beta_slow, that above 0, and rope_theta above 1");
}

}  // namespace braid
