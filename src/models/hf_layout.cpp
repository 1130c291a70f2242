// SPDX-License-Identifier: Apache-2.0
#include "models/hf_layout.h"

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <set>

#include "base/error.h"
#include "models/bnb_tensors.h"
#include "store/element_convert.h"

namespace braid {

namespace {

HfTensor whole_parameter(const std::string& name, const std::string& parameter, const Extent& shape) {
  return {name, shape, parameter, shape, 0, ""};
}

// Rows of each weight that projections share.
std::map<std::string, int64_t> rows_of_weights(const std::vector<ProjectionShape>& all) {
  std::map<std::string, int64_t> rows;
  for (const ProjectionShape& p : all) rows[p.weight] = std::max(rows[p.weight], p.first_row + p.out);
  return rows;
}

bool is_ignored(const std::string& name) { return name.ends_with(".rotary_emb.inv_freq"); }

std::string described(h5::Element element, const Extent& shape) {
  return str(h5::element_name(element), " [", extent_text(shape), "]");
}

void check_tensor(const HfFiles::Found& found, const HfTensor& expected) {
  const SafeTensor& tensor = *found.tensor;
  if (is_float(tensor.element) && tensor.shape == expected.shape) return;
  throw UsageError(str(found.file->path(), ": tensor ", tensor.name, ": expected F32, BF16, F16 or F64 of shape [",
                       extent_text(expected.shape), "], found ", described(tensor.element, tensor.shape)));
}

// config.json says that the head is the embedding; one of its own must then be the same.
void check_tied_head(const HfFiles& files, const HfFiles::Found& head) {
  const HfFiles::Found& embedding = files.at("model.embed_tokens.weight");
  const bool alike = head.tensor->element == embedding.tensor->element && head.tensor->shape == embedding.tensor->shape;
  if (alike && std::memcmp(head.data(), embedding.data(), head.tensor->bytes()) == 0) return;
  throw UsageError(str(head.file->path(),
                       ": tensor lm_head.weight: expected the elements of model.embed_tokens.weight, ",
                       "as config.json has tie_word_embeddings true, found others"));
}

template <class Bits>
int64_t first_with_full_exponent(const std::byte* data, int64_t count, Bits exponent) {
  constexpr int64_t piece = 4096;
  const auto full = [&](int64_t i) {
    Bits bits;
    std::memcpy(&bits, data + i * static_cast<int64_t>(sizeof bits), sizeof bits);
    return (bits & exponent) == exponent;
  };
  for (int64_t first = 0; first < count; first += piece) {
    const int64_t end = std::min(count, first + piece);
    bool any = false;
    for (int64_t i = first; i < end; ++i) any |= full(i);
    if (!any) continue;
    for (int64_t i = first; i < end; ++i) {
      if (full(i)) return i;
    }
  }
  return -1;
}

int64_t first_too_large(const std::byte* data, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    double value;
    std::memcpy(&value, data + i * static_cast<int64_t>(sizeof value), sizeof value);
    if (!(std::fabs(value) <= double{FLT_MAX})) return i;
  }
  return -1;
}

}  // namespace

HfTensor hf_tensor(const ProjectionShape& p) {
  return {p.published() + ".weight", {p.out, p.in}, "", {}, 0, p.published()};
}

std::vector<HfTensor> hf_layout(const ModelConfig& config) {
  const std::vector<ProjectionShape> all = projection_shapes(config);
  const auto rows = rows_of_weights(all);
  std::vector<HfTensor> layout;
  const bool tied_head = config.tie_embeddings && config.holds_head();
  if (config.holds_embedding() || tied_head) {
    layout.push_back(whole_parameter("model.embed_tokens.weight", "embedding.weight", {config.vocabulary, config.width}));
  }
  int64_t layer = -1;
  for (const ProjectionShape& p : all) {
    if (p.layer < 0) continue;  // the head comes last
    if (p.layer != layer) {
      layer = p.layer;
      const std::string theirs = str("model.layers.", layer, "."), ours = str("blocks.", layer, ".");
      layout.push_back(whole_parameter(theirs + "input_layernorm.weight", ours + "ln1.weight", {config.width}));
      layout.push_back(
          whole_parameter(theirs + "post_attention_layernorm.weight", ours + "ln2.weight", {config.width}));
    }
    HfTensor tensor = hf_tensor(p);
    tensor.parameter = p.weight;
    tensor.parameter_shape = {rows.at(p.weight), p.in};
    tensor.first_row = p.first_row;
    layout.push_back(std::move(tensor));
  }
  if (!config.holds_head()) return layout;
  layout.push_back(whole_parameter("model.norm.weight", "ln_f.weight", {config.width}));
  if (!config.tie_embeddings) {
    layout.push_back(whole_parameter("lm_head.weight", "head.weight", {config.vocabulary, config.width}));
    layout.back().projection = "lm_head";
  }
  return layout;
}

void check_hf_tensors(const HfFiles& files, const ModelConfig& config) {
  std::set<std::string> expected;
  const bool packed = config.is_quantised() && holds_bnb_matrices(files);
  const QuantisedProjections quantised(config);
  for (const HfTensor& tensor : hf_layout(config)) {
    if (packed && !tensor.projection.empty() && quantised.has(tensor.projection)) {
      for (std::string& name : find_bnb_matrix(files, tensor).names) expected.insert(std::move(name));
      continue;
    }
    check_tensor(files.at(tensor.name), tensor);
    expected.insert(tensor.name);
  }
  for (const auto& [name, found] : files.tensors()) {
    if (expected.count(name) || is_ignored(name)) continue;
    if (config.tie_embeddings && name == "lm_head.weight") {
      check_tied_head(files, found);
      continue;
    }
    throw UsageError(str(found.file->path(), ": tensor ", name, ": expected none of that name in a Llama, found ",
                         described(found.tensor->element, found.tensor->shape)));
  }
}

int64_t first_not_finite(h5::Element element, const std::byte* data, int64_t count) {
  switch (element) {
    case h5::Element::float16:
      return first_with_full_exponent<uint16_t>(data, count, 0x7C00);
    case h5::Element::bfloat16:
      return first_with_full_exponent<uint16_t>(data, count, 0x7F80);
    case h5::Element::float32:
      return first_with_full_exponent<uint32_t>(data, count, 0x7F800000);
    case h5::Element::float64:
      return first_too_large(data, count);
    default:
      return -1;
  }
}

}  // namespace braid
