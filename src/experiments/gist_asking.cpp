// SPDX-License-Identifier: Apache-2.0
#include "experiments/gist_asking.h"

#include <filesystem>

#include "base/error.h"
#include "data/passkey_task.h"
#include "store/checkpoint_manifest.h"

namespace braid {

namespace {

std::optional<NeedleForm> text_form(const RunConfig& config, const ModelConfig& shape) {
  if (config.data.kind == "needles") return needle_form_of(config.data, shape);
  std::error_code problem;
  const std::string tokenizer = shape.path + "/tokenizer.json";
  if (shape.path.empty() || !std::filesystem::is_regular_file(tokenizer, problem)) return std::nullopt;
  return NeedleForm{NeedleTokens::from_file(tokenizer), {}};
}

}  // namespace

std::vector<int64_t> encoded(const NeedleTokens& tokens, const std::string& text) {
  const std::vector<TokenId> ids = tokens.encode(text);
  return {ids.begin(), ids.end()};
}

std::vector<int64_t> GistAsking::question(const std::string& asked) const {
  if (!text) throw UsageError("the run has no tokenizer: expected questions as token ids");
  if (!text->ask) return encoded(text->tokens, asked);
  NeedleSample sample;
  sample.question = asked;
  sample.answers = {"-"};  // not looked at
  const std::vector<TokenId> ids = text->ask(sample).question;
  return {ids.begin(), ids.end()};
}

GistAsking gist_asking_of(const AdaptedModel& loaded) {
  if (!loaded.gists) {
    const std::string& name = loaded.checkpoint.empty() ? loaded.shape.path : loaded.checkpoint;
    throw UsageError(str(name, ": expected a run with [gist], whose model compresses contexts"));
  }
  GistAsking asking{run_config_of(read_manifest(loaded.checkpoint), loaded.checkpoint), {}, loaded.stop_ids};
  asking.text = text_form(asking.config, loaded.shape);
  if (asking.config.data.kind == "passkey") asking.stop_ids.push_back(passkey::end);
  if (asking.text && asking.text->ask && asking.text->tokens.name() == "bytes") asking.stop_ids.push_back(byte_end);
  return asking;
}

}  // namespace braid
