// SPDX-License-Identifier: Apache-2.0
// Gists that are kept in a file: contexts are compressed once and asked many times, by the same weights only.
//
// HDF5 behind a seal (store/sealed_file.h), for N contexts:
//   /gist_kv         [N, L, 2, H_kv, P, d] float32, bfloat16 or float16: keys, turned, and values; P is the largest
//                    number of gists, and those that a context does not have are 0
//   /gist_positions  [N, P] int64: what the keys are turned by; -1: no gist
//   /context_tokens  [N] int64
// Root attributes: format "braid-gist-cache", format_version, created_utc, model (digest of the weights), checkpoint,
// checkpoint_digest (of the weights as its manifest knows them; earlier programs wrote none),
// segment (S), overlap, gists (k), rope_base, rope_scaling, dtype.
#pragma once

#include <string>
#include <vector>

#include "experiments/adapted_model.h"
#include "infer/kept_past.h"
#include "store/h5.h"

namespace braid {

inline constexpr int64_t gist_cache_version = 1;

struct GistCache {
  std::string model, checkpoint;                // digest of the weights; where they were
  std::string checkpoint_digest;                // "" for none
  int64_t segment = 0, overlap = 0, count = 0;  // S, overlap and k [tokens]
  double rope_base = 0;
  std::string rope_scaling;             // none, linear, llama3 or yarn
  at::Tensor kept;                      // [N, L, 2, H_kv, P, d] on the CPU
  at::Tensor positions;                 // [N, P]
  std::vector<int64_t> context_tokens;  // of each context

  int64_t size() const { return kept.size(0); }
};

// "crc32c:1a2b3c4d" of names, shapes and values of all weights as they are held: of model, adapters and gists.
std::string weights_digest(AdaptedModel& loaded);
// The same by what the checkpoint's manifest says of its slices, and how the base model is held: also of a model of which
// other ranks have the rest.
std::string checkpoint_digest(const AdaptedModel& loaded);

// Each context by itself, cut as gist.segment and gist.overlap say. UsageError: no context, an id that the model does
// not know.
GistCache compress_contexts(AdaptedModel& loaded, const GistConfig& gist,
                            const std::vector<std::vector<int64_t>>& contexts);

// `element`: float32, bfloat16 or float16. Error.
void write_gist_cache(const std::string& path, const GistCache& cache, h5::Element element);
// UsageError: no such file, none of these, a damaged one, or one of a newer version.
GistCache read_gist_cache(const std::string& path);

// UsageError, naming both digests, unless the cache is of these weights, or a rank's part of them.
void require_same_weights(const GistCache& cache, AdaptedModel& loaded, const std::string& path);

// What an answer to context `index` has before it.
AnswerPast past_of_cached(const GistCache& cache, int64_t index, GistModel& gists);

// The same for an engine.
KeptPast kept_past_of(const GistCache& cache, int64_t index);
// UsageError, beginning with `where`, unless the cache has this context.
void require_context(const GistCache& cache, int64_t index, const std::string& where);

// The likeliest continuation of question ids behind that past, up to `most` tokens or the first of `stop_ids`.
std::vector<int64_t> answer_from(GistModel& gists, AnswerPast past, const std::vector<int64_t>& question, int64_t most,
                                 const std::vector<int64_t>& stop_ids);

}  // namespace braid
