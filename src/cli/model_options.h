// SPDX-License-Identifier: Apache-2.0
// Options of the commands that ask a model: which one, on which device, and how prompts are put.
#pragma once

#include <string>
#include <vector>

#include "comm/world.h"
#include "experiments/adapted_model.h"
#include "infer/sampling_options.h"

namespace cxxopts {
class Options;
class ParseResult;
}  // namespace cxxopts

namespace braid {

struct ModelOptions {
  ModelSource source;
  std::string format, tokenizer;  // "": as the run put prompts, raw for a folder; as the model's folder has it
  std::string precision;
  WorldOptions world;
};

// --model, --adapter, --memory, --run, --step, --best, --format, --tokenizer, --precision, --quantise,
// --device; without the last where a command has one of its own.
void add_model_options(cxxopts::Options& options, bool with_device = true);
// device: instead of what --device says, "" for that. UsageError.
ModelOptions read_model_options(const cxxopts::ParseResult& parsed, const std::string& device = "");

// Loads the model; damaged checkpoints that were passed over are told of on standard error by rank 0.
AdaptedModel load_model(const ModelOptions& options, const World& world);

// How prompts are put to it.
DataConfig form_for(const ModelOptions& options, const AdaptedModel& loaded);

// How its folder says that answers are sampled. Fields of generation_config.json that are not built are told of on
// standard error. UsageError: a file that cannot be taken.
SamplingOptions folder_sampling(const AdaptedModel& loaded);

// The value of an option, "" where it is not given.
std::string text_option(const cxxopts::ParseResult& parsed, const std::string& name);

}  // namespace braid
