// SPDX-License-Identifier: Apache-2.0
// What contexts a [gist] run compresses: token-level keys, or needle samples in the tokens of a model.
#pragma once

#include <memory>

#include "data/needle_stream.h"
#include "data/repeated_spans.h"
#include "experiments/run_config.h"

namespace braid {

// Contexts and questions of needle samples as a configuration has them: the tokenizer of data.tokenizer or of
// model.path and the form data.format with questions as the user's turn, or bytes without a tokenizer. UsageError.
NeedleForm needle_form_of(const DataConfig& data, const ModelConfig& model);

class GistTasks {
 public:
  explicit GistTasks(const RunConfig& config);  // UsageError
  // Contexts of gist.eval_length, to be asked as gist.eval_keys and eval_task have it.
  std::shared_ptr<const ContextTask> open_held_out(Split split = Split::held_out) const;
  // What one step trains on.
  std::shared_ptr<const ContextTask> open_training(const GistShape& shape) const;
  // The same with a span to be written out again where gist.reconstruction asks for it.
  std::shared_ptr<const Dataset> with_spans(std::shared_ptr<const ContextTask> task) const;
  std::string digest() const;  // of what samples are made from
  // Makes one sample of the shortest context of each phase: UsageError where a statement or question does not fit.
  void check_phases() const;

 private:
  GistConfig gist_;
  uint64_t seed_;
  std::string kind_;
  std::shared_ptr<const NeedleSource> needles_;  // null for token-level keys
};

}  // namespace braid
