// SPDX-License-Identifier: Apache-2.0
// The [gist] table: how contexts are compressed, and the phases in which that is learned.
#pragma once

#include <string>
#include <vector>

#include "base/config.h"
#include "data/passkey_task.h"
#include "data/repeated_spans.h"
#include "nn/model_config.h"
#include "train/curriculum.h"

namespace braid {

// One phase, written as "segments=64,128 counts=1,2,4 tokens=4096 steps=300 gate=0.05". Each step takes one of the
// lengths and one of the numbers, and as many samples as its tokens allow.
struct GistPhase {
  std::vector<int64_t> segments, counts = {1};  // S [tokens] and G
  int64_t tokens = 4096, steps = 0;             // of context in one step; at most so many steps
  double gate = 0;                              // PhaseLimits
  double rate = 1;                              // of optim.learning_rate
  double decay = 0;                             // over this last share of the steps the rate falls to a tenth
  double distractors = 0, share = 1;            // share of digits in the filler, on this share of the steps
  double ends = 0;                              // share of samples with the needle at the very start or end
  double raw = 0;                               // share of steps in which questions stand behind the segments themselves
  std::vector<int64_t> keys = {1};              // statements in a context, as many as fit
  std::vector<PasskeyKind> tasks = {PasskeyKind::multikey};  // what is asked of several
};

struct GistConfig {
  int64_t count = 0;  // k, gists of a segment; 0: none
  int64_t segment = 128, overlap = 8;
  bool shard_segments = false;
  std::vector<std::string> phases;
  int64_t samples = 0;  // of training, again and again; 0: new ones in every step
  int64_t eval_length = 512, eval_answers = 64, eval_keys = 1;
  std::string eval_task = "multikey";
  double reconstruction = 0, distillation = 0;  // a and b of gist_loss.h
  std::string reconstructed = "needle";         // needle | span
  int64_t reconstructed_tokens = 64;            // at most

  bool enabled() const { return count > 0; }
  bool reconstructs() const { return reconstruction > 0; }
  RepeatShape repeat_shape(uint64_t seed) const;
  // What training needs of the model: a segment, its gists and a question; to distil also a whole context and a
  // question.
  int64_t positions(int64_t question_tokens) const;
  // Elements of the vectors.
  int64_t elements(const ModelConfig& model) const { return enabled() ? (count + reconstructs()) * model.width : 0; }
  void describe(ConfigSection& section);
  // In order; UsageError: "gist.phases: …".
  std::vector<GistPhase> read_phases() const;
  void check(const ModelConfig& model) const;  // UsageError that begins with the key
};

std::vector<PhaseLimits> limits_of(const std::vector<GistPhase>& phases);

// What one step trains on: samples of a context that is cut into just G segments of S tokens.
struct GistShape {
  int64_t segment = 0, segments = 0, tokens = 0, samples = 0;  // tokens: of one context
  double distractors = 0, rate = 1, ends = 0;
  bool raw = false;
  int64_t keys = 1;
  PasskeyKind kind = PasskeyKind::multikey;
};

// A step of so many segments of such a length.
GistShape shape_of(const GistPhase& phase, int64_t segment, int64_t segments, int64_t overlap);

// Of the step that a run is at: a pure function of seed, step and place in the phases.
GistShape gist_shape(const GistPhase& phase, int64_t overlap, uint64_t seed, int64_t step, int64_t step_in_phase);

}  // namespace braid
