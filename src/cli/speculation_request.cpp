// SPDX-License-Identifier: Apache-2.0
#include "cli/speculation_request.h"

#include <filesystem>

#include "base/error.h"
#include "cli/command.h"
#include "cli/options.h"
#include "text/tokenizer.h"

namespace braid {

void add_speculation_options(cxxopts::Options& options) {
  options.add_options()(
      "speculate",
      "propose tokens that the model checks several at a time; answers stay the same: none, ngram (from "
      "what the text repeats) or draft (by a smaller model)",
      cxxopts::value<std::string>()->default_value("none"), "NAME")(
      "draft", "with --speculate draft: folder of a smaller model with the same tokens", cxxopts::value<std::string>(),
      "DIR")("speculate-tokens", "proposed to an answer at a time, at most; fewer where fewer are accepted",
             cxxopts::value<int64_t>()->default_value("7"), "N");
}

SpeculationRequest read_speculation(const cxxopts::ParseResult& parsed) {
  const std::string name = one_of("speculate", parsed["speculate"].as<std::string>(), {"none", "ngram", "draft"});
  SpeculationRequest request;
  request.draft = text_option(parsed, "draft");
  if (name == "ngram") request.options.proposer = Proposer::ngram;
  if (name == "draft") request.options.proposer = Proposer::draft;
  if (request.draft.empty() != (name != "draft"))
    throw UsageError("--speculate draft and --draft DIR: expected both or none");
  const auto tokens = parsed["speculate-tokens"].as<int64_t>();
  if (tokens < 1 || tokens > 64)
    throw UsageError(str("--speculate-tokens ", tokens, ": expected a whole number from 1 to 64"));
  request.options.tokens = tokens;
  return request;
}

namespace {

std::optional<Tokenizer> tokenizer_in(const std::string& folder) {
  std::error_code problem;
  const std::string file = folder + "/tokenizer.json";
  if (folder.empty() || !std::filesystem::exists(file, problem)) return std::nullopt;
  return Tokenizer::from_file(file);
}

// "" or the first id that stands for something else.
std::string difference(const Tokenizer& one, const Tokenizer& other, int64_t vocabulary) {
  for (int64_t id = 0; id < vocabulary; ++id) {
    const std::string here = one.id_to_token(static_cast<TokenId>(id)).value_or("");
    const std::string there = other.id_to_token(static_cast<TokenId>(id)).value_or("");
    if (here != there) return str("token ", id, " is \"", here, "\" there and \"", there, "\" in the model");
  }
  return "";
}

}  // namespace

std::optional<AdaptedModel> load_draft(const SpeculationRequest& request, const ModelOptions& options,
                                       const AdaptedModel& model, const World& world) {
  if (request.draft.empty()) return std::nullopt;
  ModelOptions draft = options;
  draft.source = {};
  draft.source.model = request.draft;
  draft.source.quantise = options.source.quantise;
  AdaptedModel loaded = load_model(draft, world);
  const int64_t own = loaded.model->config().vocabulary, expected = model.shape.vocabulary;
  const auto refuse = [&](const std::string& why) { throw UsageError(str("--draft ", request.draft, ": ", why)); };
  if (own != expected)
    refuse(str("it has ", own, " tokens and the model ", expected, "; expected the same vocabulary"));
  const auto here = tokenizer_in(loaded.shape.path), there = tokenizer_in(model.shape.path);
  const std::string other = here && there ? difference(*here, *there, own) : "";
  if (!other.empty()) refuse(other + "; expected the same vocabulary");
  return loaded;
}

}  // namespace braid
