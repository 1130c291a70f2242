// SPDX-License-Identifier: Apache-2.0
#include "nn/lora_config.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <regex>

#include "base/error.h"

namespace braid {

namespace {

const std::vector<std::string> projection_names = {"q_proj",    "k_proj",  "v_proj",    "o_proj",
                                                   "gate_proj", "up_proj", "down_proj", "lm_head"};

constexpr int64_t highest_rank = 65536;
constexpr size_t longest_pattern = 256;  // std::regex goes as deep as its text is nested

struct Pattern {
  std::regex module;
  double value = 0;
};

[[noreturn]] void refuse(const std::string& key, const std::string& found, const std::string& expected) {
  throw UsageError(str("lora.", key, ": expected ", expected, ", found \"", found, "\""));
}

Pattern parse_pattern(const std::string& key, const std::string& text) {
  const char* expected = "a module and a positive number, such as layers.0.self_attn.q_proj=4";
  const size_t equals = text.rfind('=');
  if (equals == std::string::npos || equals == 0) refuse(key, text, expected);
  Pattern pattern;
  const char* end = text.data() + text.size();
  const auto [stop, problem] = std::from_chars(text.data() + equals + 1, end, pattern.value);
  if (problem != std::errc() || stop != end || !(pattern.value > 0)) refuse(key, text, expected);
  if (equals > longest_pattern) refuse(key, text.substr(0, 40) + "…", str("at most ", longest_pattern, " bytes before the ="));
  try {
    pattern.module = std::regex("(.*\\.)?(" + text.substr(0, equals) + ")");
  } catch (const std::regex_error&) {
    refuse(key, text, "a regular expression before the =");
  }
  return pattern;
}

std::vector<Pattern> parse_patterns(const std::string& key, const std::vector<std::string>& texts) {
  std::vector<Pattern> patterns;
  for (const std::string& text : texts) patterns.push_back(parse_pattern(key, text));
  return patterns;
}

double matched(const std::vector<Pattern>& patterns, const std::string& module, double otherwise) {
  for (const Pattern& pattern : patterns) {
    if (std::regex_match(module, pattern.module)) return pattern.value;
  }
  return otherwise;
}

bool contains(const auto& list, const auto& value) { return std::find(list.begin(), list.end(), value) != list.end(); }

}  // namespace

bool LoraConfig::saves(const std::string& module) const { return contains(saved_modules, module); }

void LoraConfig::describe(ConfigSection& s) {
  s.value("path", path, "folder of an adapter in peft's format to begin with; the keys of this table that its "
                        "adapter_config.json has need not be given; empty: none");
  s.value("rank", rank, "rank r of the adapters; 0: none, every weight of the model is trained [1]", 0, highest_rank);
  s.value("alpha", alpha, "an adapter's term is scaled by alpha / r [1]", 0.0);
  s.value("dropout", dropout, "share of an adapter's inputs that are dropped in training [1]", 0.0, 0.999);
  s.value("targets", targets, "projections that get an adapter: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, "
                              "down_proj, lm_head");
  s.choice("rows", rows, {"all", "gist"}, "tokens that adapters act on; gist: with [gist], only the gists of a segment "
                                          "while it is compressed: contexts and answers are the base model's");
  s.value("layers", layers, "layers whose projections get one, counted from 0; empty: all [layers]");
  s.value("rank_pattern", rank_pattern, "other ranks, as \"module=r\": a regular expression for the end of its path");
  s.value("alpha_pattern", alpha_pattern, "other alphas, as \"module=alpha\"");
  s.value("rank_stabilised", rank_stabilised, "scale by alpha / sqrt(r) instead (rsLoRA)");
  s.value("dora", dora, "train the length of each output's weights apart from its direction (DoRA)");
  s.value("b_rate", b_rate, "learning rate of the B matrices as a multiple of optim.learning_rate (LoRA+) [1]", 0.0);
  s.value("saved_modules", saved_modules, "modules of which a copy is trained in full: embed_tokens, lm_head");
}

void LoraConfig::check(const ModelConfig& model) const {
  if (!enabled()) return;
  if (!model.is_llama()) throw UsageError("lora.rank: adapters need model.dialect = \"llama\"");
  if (targets.empty() && saved_modules.empty()) throw UsageError("lora.targets: expected at least one projection");
  for (const std::string& target : targets) {
    if (!contains(projection_names, target)) refuse("targets", target, "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj or lm_head");
  }
  for (const std::string& module : saved_modules) {
    if (module != "embed_tokens" && module != "lm_head") refuse("saved_modules", module, "embed_tokens or lm_head");
    if (contains(targets, module)) refuse("saved_modules", module, "a module that is not in lora.targets");
  }
  for (const int64_t layer : layers) {
    if (layer < 0 || layer >= model.layers) refuse("layers", std::to_string(layer), str("0 to ", model.layers - 1));
  }
  for (const Pattern& pattern : parse_patterns("rank_pattern", rank_pattern)) {
    const bool rank = pattern.value == std::floor(pattern.value) && pattern.value <= double(highest_rank);
    if (!rank) refuse("rank_pattern", str(pattern.value), str("whole ranks up to ", highest_rank));
  }
  parse_patterns("alpha_pattern", alpha_pattern);
}

std::vector<LoraTarget> lora_targets(const ModelConfig& model, const LoraConfig& lora) {
  std::vector<LoraTarget> all;
  if (!lora.enabled()) return all;
  const auto ranks = parse_patterns("rank_pattern", lora.rank_pattern);
  const auto alphas = parse_patterns("alpha_pattern", lora.alpha_pattern);
  for (ProjectionShape& shape : projection_shapes(model)) {
    const bool chosen = shape.layer < 0 || lora.layers.empty() || contains(lora.layers, shape.layer);
    if (!chosen || !contains(lora.targets, shape.name)) continue;
    LoraTarget target;
    target.rank = int64_t(matched(ranks, shape.module, double(lora.rank)));
    target.alpha = matched(alphas, shape.module, lora.alpha);
    target.scale = target.alpha / (lora.rank_stabilised ? std::sqrt(double(target.rank)) : double(target.rank));
    target.shape = std::move(shape);
    all.push_back(std::move(target));
  }
  return all;
}

int64_t lora_elements(const ModelConfig& model, const LoraConfig& lora) {
  int64_t total = int64_t(lora.saved_modules.size()) * model.vocabulary * model.width;
  for (const LoraTarget& target : lora_targets(model, lora)) {
    total += target.rank * (target.shape.in + target.shape.out) + (lora.dora ? target.shape.out : 0);
  }
  return total;
}

}  // namespace braid
