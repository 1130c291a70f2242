// SPDX-License-Identifier: Apache-2.0
#include "experiments/gist_cache.h"

#include <algorithm>
#include <map>

#include "base/clock.h"
#include "base/error.h"
#include "experiments/gist_answers.h"
#include "models/hf_export.h"
#include "nn/precompiled.h"
#include "store/crc32c.h"
#include "store/h5_array.h"
#include "store/posix_file.h"
#include "store/sealed_file.h"

namespace braid {

namespace {

constexpr const char* cache_format = "braid-gist-cache";

uint32_t add_text(const std::string& text, uint32_t digest) { return crc32c(text.data(), text.size(), digest); }

uint32_t add_weights(const ParameterSet& parameters, uint32_t digest) {
  for (const Parameter& parameter : parameters.all()) {
    digest = add_text(parameter.name, digest);
    digest = crc32c(parameter.shape.data(), parameter.shape.size() * sizeof(int64_t), digest);
    if (!parameter.master.defined()) continue;
    const at::Tensor values = parameter.master.detach().cpu().contiguous();
    digest = crc32c(values.const_data_ptr(), values.nbytes(), digest);
  }
  return digest;
}

// What is not held as a dense weight, 4-bit projections, is known by the base model's folder.
std::string base_of(const AdaptedModel& loaded) {
  const std::string digest =
      loaded.checkpoint.empty() ? "" : read_manifest(loaded.checkpoint).text(model_digest_attribute);
  return str(loaded.model->config().quantise, " ", digest, " ");
}

at::ScalarType tensor_type(h5::Element element) {
  if (element == h5::Element::float16) return at::kHalf;
  return element == h5::Element::bfloat16 ? at::kBFloat16 : at::kFloat;
}

h5::Element element_of_name(const std::string& name, const std::string& path) {
  const auto element = h5::element_named(name);
  const bool known =
      element == h5::Element::float32 || element == h5::Element::bfloat16 || element == h5::Element::float16;
  if (!known) throw UsageError(str(path, ": dtype: expected float32, bfloat16 or float16, found ", name));
  return *element;
}

void require_known(const std::vector<int64_t>& ids, const Transformer& model, size_t context) {
  for (const int64_t id : ids) {
    if (id >= 0 && id < model.config().vocabulary) continue;
    throw UsageError(
        str("context ", context, ": the model knows tokens 0 to ", model.config().vocabulary - 1, ", found ", id));
  }
}

GistCache empty_cache(AdaptedModel& loaded, const GistConfig& gist) {
  GistCache cache;
  cache.model = weights_digest(loaded);
  cache.checkpoint = loaded.checkpoint;
  cache.checkpoint_digest = checkpoint_digest(loaded);
  cache.segment = gist.segment;
  cache.overlap = gist.overlap;
  cache.count = loaded.gists->count();
  cache.rope_base = loaded.model->config().rope_theta;
  cache.rope_scaling = loaded.model->config().rope.kind;
  return cache;
}

// Gists [1, L, 2, H_kv, n, d] filled up to `most`.
at::Tensor filled(const at::Tensor& kept, int64_t most) {
  return at::constant_pad_nd(kept, {0, 0, 0, most - kept.size(4)}, 0);
}

}  // namespace

std::string weights_digest(AdaptedModel& loaded) {
  uint32_t digest = add_text(base_of(loaded), 0);
  digest = add_weights(loaded.model->parameters(), digest);
  if (loaded.adapters) digest = add_weights(loaded.adapters->parameters(), digest);
  if (loaded.gists) digest = add_weights(loaded.gists->parameters(), digest);
  return digest_text(digest);
}

std::string checkpoint_digest(const AdaptedModel& loaded) {
  uint32_t digest = add_text(base_of(loaded), 0);
  std::map<std::string, uint32_t> slices;  // in an order of their own: checkpoints of one run have any number of shards
  for (const ShardRecord& shard : read_manifest(loaded.checkpoint).shards) {
    for (const StoredSlice& one : shard.slices) {
      if (!one.slice.name.starts_with("model/")) continue;
      slices.emplace(str(one.slice.name, " ", extent_text(one.slice.box.origin), " ", extent_text(one.slice.box.extent), " ",
                         one.slice.first, " ", one.slice.count), one.crc);
    }
  }
  for (const auto& [slice, crc] : slices) digest = add_text(str(slice, " ", crc, "\n"), digest);
  return digest_text(digest);
}

GistCache compress_contexts(AdaptedModel& loaded, const GistConfig& gist,
                            const std::vector<std::vector<int64_t>>& contexts) {
  const at::NoGradGuard no_gradient;
  if (contexts.empty()) throw UsageError("expected a context to compress, found none");
  GistModel& gists = *loaded.gists;
  const int64_t k = gists.count();
  std::vector<at::Tensor> kept, positions;
  GistCache cache = empty_cache(loaded, gist);
  int64_t most = 0;
  for (size_t i = 0; i < contexts.size(); ++i) {
    require_known(contexts[i], *loaded.model, i);
    const auto tokens = static_cast<int64_t>(contexts[i].size());
    const SegmentPlan plan = plan_segments(tokens, gist.segment, gist.overlap);
    const at::Tensor ids = at::tensor(contexts[i], at::kLong).to(loaded.model->device()).unsqueeze(0);
    kept.push_back(compress_texts(gists, ids, plan).cpu());
    positions.push_back((at::arange(k, at::kLong) + plan.length).repeat({plan.segments()}));
    cache.context_tokens.push_back(tokens);
    most = std::max(most, plan.segments() * k);
  }
  for (at::Tensor& one : kept) one = filled(one, most);
  for (at::Tensor& one : positions) one = at::constant_pad_nd(one, {0, most - one.size(0)}, -1);
  cache.kept = at::cat(kept);
  cache.positions = at::stack(positions);
  return cache;
}

void write_gist_cache(const std::string& path, const GistCache& cache, h5::Element element) {
  const at::Tensor kept = cache.kept.to(tensor_type(element)).contiguous();
  const at::Tensor positions = cache.positions.contiguous();
  write_sealed_h5(path, [&](h5::File& file) {
    h5::set_attribute(file, "format", std::string(cache_format));
    h5::set_attribute(file, "format_version", gist_cache_version);
    h5::set_attribute(file, "created_utc", utc_now_iso8601());
    h5::set_attribute(file, "model", cache.model);
    h5::set_attribute(file, "checkpoint", cache.checkpoint);
    h5::set_attribute(file, "checkpoint_digest", cache.checkpoint_digest);
    h5::set_attribute(file, "segment", cache.segment);
    h5::set_attribute(file, "overlap", cache.overlap);
    h5::set_attribute(file, "gists", cache.count);
    h5::set_attribute(file, "rope_base", cache.rope_base);
    h5::set_attribute(file, "rope_scaling", cache.rope_scaling);
    h5::set_attribute(file, "dtype", std::string(h5::element_name(element)));
    h5::create_array(file, "gist_kv", element, kept.sizes().vec())
        .write(h5::element_type(element), kept.const_data_ptr());
    h5::create_array(file, "gist_positions", h5::Element::int64, positions.sizes().vec())
        .write(h5::element_type(h5::Element::int64), positions.const_data_ptr());
    h5::create_array(file, "context_tokens", h5::Element::int64, {std::ssize(cache.context_tokens)})
        .write(h5::element_type(h5::Element::int64), cache.context_tokens.data());
  });
}

namespace {

at::Tensor read_array(const h5::File& file, const char* name, h5::Element element, at::ScalarType type) {
  const h5::Dataset dataset = h5::Dataset::open(file, name);
  at::Tensor values = at::empty(dataset.shape(), type);
  dataset.read(h5::element_type(element), values.mutable_data_ptr());
  return values;
}

void require_format(const h5::File& file) {
  if (!h5::has_attribute(file, "format") || h5::text_attribute(file, "format") != cache_format) {
    throw UsageError(str(file.path(), ": expected a gist cache (root attribute format \"", cache_format, "\")"));
  }
  const int64_t version = h5::int_attribute(file, "format_version");
  if (version <= gist_cache_version) return;
  throw UsageError(
      str(file.path(), ": format_version ", version, " is newer than this program's ", gist_cache_version));
}

GistCache read_contents(const std::string& path) {
  const auto alone = h5::library_lock();
  const h5::File file = h5::File::open(path);
  require_format(file);
  GistCache cache;
  cache.model = h5::text_attribute(file, "model");
  cache.checkpoint = h5::text_attribute(file, "checkpoint");
  if (h5::has_attribute(file, "checkpoint_digest")) cache.checkpoint_digest = h5::text_attribute(file, "checkpoint_digest");
  cache.segment = h5::int_attribute(file, "segment");
  cache.overlap = h5::int_attribute(file, "overlap");
  cache.count = h5::int_attribute(file, "gists");
  cache.rope_base = h5::double_attribute(file, "rope_base");
  cache.rope_scaling = h5::text_attribute(file, "rope_scaling");
  const h5::Element element = element_of_name(h5::text_attribute(file, "dtype"), path);
  cache.kept = read_array(file, "gist_kv", element, tensor_type(element));
  cache.positions = read_array(file, "gist_positions", h5::Element::int64, at::kLong);
  const at::Tensor tokens = read_array(file, "context_tokens", h5::Element::int64, at::kLong);
  cache.context_tokens.assign(tokens.const_data_ptr<int64_t>(), tokens.const_data_ptr<int64_t>() + tokens.numel());
  return cache;
}

}  // namespace

GistCache read_gist_cache(const std::string& path) {
  try {
    verify_sealed_file(path);
    return read_contents(path);
  } catch (const UsageError&) {
    throw;
  } catch (const Error& problem) {
    throw UsageError(str("no gist cache, or a damaged one: ", problem.what()));
  }
}

// The same checkpoint will do, in whatever precision it is held; one that is held in parts has no other digest.
void require_same_weights(const GistCache& cache, AdaptedModel& loaded, const std::string& path) {
  const std::string of_checkpoint = checkpoint_digest(loaded);
  if (of_checkpoint == cache.checkpoint_digest) return;
  const bool is_part = loaded.is_part();
  const std::string now = is_part ? of_checkpoint : weights_digest(loaded);
  const std::string& then = is_part ? cache.checkpoint_digest : cache.model;
  if (now == then) return;
  throw UsageError(str(path, ": was compressed by weights ", then.empty() ? "that an earlier braid did not name" : then, " (",
                       cache.checkpoint, "), but those of ", loaded.checkpoint, " are ", now));
}

KeptPast kept_past_of(const GistCache& cache, int64_t index) {
  const at::Tensor positions = cache.positions[index];
  const int64_t held = positions.ge(0).sum().item<int64_t>();
  return {cache.kept[index].narrow(3, 0, held), positions.max().item<int64_t>() + 1};
}

void require_context(const GistCache& cache, int64_t index, const std::string& where) {
  if (index >= 0 && index < cache.size()) return;
  throw UsageError(str(where, " has contexts 0 to ", cache.size() - 1));
}

AnswerPast past_of_cached(const GistCache& cache, int64_t index, GistModel& gists) {
  const KeptPast past = kept_past_of(cache, index);
  const at::ScalarType type = compute_type(gists.model().parameters().precision());
  return past_of_gists(past.kept.unsqueeze(0).to(gists.model().device(), type), past.next_position);
}

std::vector<int64_t> answer_from(GistModel& gists, AnswerPast past, const std::vector<int64_t>& question, int64_t most,
                                 const std::vector<int64_t>& stop_ids) {
  const at::NoGradGuard no_gradient;
  std::vector<int64_t> answer;
  at::Tensor next = at::tensor(question, at::kLong).to(gists.model().device()).unsqueeze(0);
  while (std::ssize(answer) < most) {
    next = gists.answer(next, past).select(1, next.size(1) - 1).argmax(-1, true);
    answer.push_back(next.item<int64_t>());
    if (std::find(stop_ids.begin(), stop_ids.end(), answer.back()) != stop_ids.end()) break;
  }
  return answer;
}

}  // namespace braid
