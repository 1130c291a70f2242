// SPDX-License-Identifier: Apache-2.0
#include "nn/projection_shape.h"

#include <algorithm>
#include <regex>

#include "base/error.h"
#include "kernels/nf4.h"

namespace braid {

namespace {

void add_layer(std::vector<ProjectionShape>& all, const ModelConfig& config, int64_t layer) {
  const std::string place = str("layers.", layer, "."), ours = str("blocks.", layer, ".");
  const int64_t d = config.width, queries = config.query_width(), keys = config.key_value_width(), f = config.mlp_width;
  const auto add = [&](const char* part, const char* name, const char* weight, int64_t first, int64_t out, int64_t in) {
    all.push_back({name, place + part + name, layer, ours + weight, first, out, in});
  };
  add("self_attn.", "q_proj", "attn.in.weight", 0, queries, d);
  add("self_attn.", "k_proj", "attn.in.weight", queries, keys, d);
  add("self_attn.", "v_proj", "attn.in.weight", queries + keys, keys, d);
  add("self_attn.", "o_proj", "attn.out.weight", 0, d, queries);
  add("mlp.", "gate_proj", "ff1.weight", 0, f, d);
  add("mlp.", "up_proj", "ff1.weight", f, f, d);
  add("mlp.", "down_proj", "ff2.weight", 0, d, f);
}

}  // namespace

std::vector<ProjectionShape> projection_shapes(const ModelConfig& config) {
  if (!config.is_llama()) {
    throw UsageError(str("model.dialect is ", config.dialect, ": only llama has named projections"));
  }
  std::vector<ProjectionShape> all;
  for (const LayerRange& range : config.held_ranges()) {
    for (int64_t layer = range.first; layer < range.end(); ++layer) add_layer(all, config, layer);
  }
  if (!config.holds_head()) return all;
  const char* weight = config.tie_embeddings ? "embedding.weight" : "head.weight";
  all.push_back({"lm_head", "lm_head", -1, weight, 0, config.vocabulary, config.width});
  return all;
}

struct QuantisedProjections::Entry {
  std::string text;
  std::regex beginning;

  bool takes_out(const std::string& module) const {
    const bool whole_parts = text.ends_with('.') && module.starts_with(text);
    return whole_parts || module.ends_with(text) || std::regex_match(module, beginning);
  }
};

QuantisedProjections::QuantisedProjections(const ModelConfig& config)
    : any_(config.is_quantised()), tied_(config.tie_embeddings) {
  constexpr size_t longest = 200;
  std::vector<Entry> entries;
  for (const std::string& text : config.dense_modules) {
    try {
      if (text.size() > longest) throw std::regex_error(std::regex_constants::error_space);
      entries.push_back({text, std::regex("(?:" + text + ")(?:\\..*)?")});
    } catch (const std::regex_error&) {
      throw UsageError(str("model.dense_modules: expected names of modules, or short regular expressions for them, found \"",
                           text.substr(0, longest), "\""));
    }
  }
  dense_ = std::make_shared<const std::vector<Entry>>(std::move(entries));
}

bool QuantisedProjections::has(const ProjectionShape& projection) const { return has(projection.published()); }

bool QuantisedProjections::has(const std::string& published) const {
  if (!any_ || (tied_ && published == "lm_head")) return false;
  return std::none_of(dense_->begin(), dense_->end(), [&](const Entry& entry) { return entry.takes_out(published); });
}

int64_t nf4_stored_bytes(int64_t elements, bool double_quantised) {
  const int64_t blocks = kernels::nf4_blocks(elements), nested = blocks + 4 * kernels::nf4_nested_blocks(elements);
  return kernels::nf4_bytes(elements) + (double_quantised ? nested : 4 * blocks);
}

QuantisedSize quantised_size(const ModelConfig& config) {
  QuantisedSize size;
  if (!config.is_quantised()) return size;
  const QuantisedProjections quantised(config);
  for (const ProjectionShape& projection : projection_shapes(config)) {
    if (!quantised.has(projection)) continue;
    const int64_t count = projection.out * projection.in;
    size.elements += count;
    size.bytes += nf4_stored_bytes(count, config.double_quantise);
  }
  return size;
}

}  // namespace braid
