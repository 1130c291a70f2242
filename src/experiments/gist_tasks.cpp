// SPDX-License-Identifier: Apache-2.0
#include "experiments/gist_tasks.h"

#include <algorithm>

#include "base/error.h"
#include "data/needle_mirror.h"
#include "data/passkey_task.h"
#include "experiments/fine_tuning.h"
#include "nn/gist_segments.h"

namespace braid {

namespace {

// A raw prompt has nothing around the question that would tell it from the text.
std::string question_text(const NeedleSample& sample, bool raw) {
  return raw ? "\n" + sample.question + "\n" : sample.question;
}

}  // namespace

NeedleForm needle_form_of(const DataConfig& data, const ModelConfig& model) {
  if (data.tokenizer.empty() && model.path.empty()) return byte_form();
  auto opened = std::make_shared<const FineTuningForm>(open_form(data, model));
  NeedleForm form;
  form.tokens = NeedleTokens::from_file(opened->tokenizer.file());
  form.ask = [opened, data](const NeedleSample& sample) {
    const Conversation turns = {{"user", question_text(sample, data.format == "raw")},
                                {"assistant", answer_text(sample)}};
    TokenExample example = tokenise(turns, opened->form(data));
    const size_t size = example.ids.size();  // a format that ends its turns by itself has the token twice
    if (opened->end && example.ids[size - 2] == *opened->end) example.ids.pop_back();
    const auto border = example.ids.begin() + example.answer;
    return NeedleForm::Asked{{example.ids.begin(), border}, {border, example.ids.end()}};
  };
  return form;
}

GistTasks::GistTasks(const RunConfig& config)
    : gist_(config.gist), seed_(static_cast<uint64_t>(config.train.seed)), kind_(config.data.kind) {
  if (kind_ != "needles") return;
  needles_ =
      make_needle_source(config.needles, needle_form_of(config.data, config.model), config.model.vocabulary, seed_);
}

std::shared_ptr<const ContextTask> GistTasks::open_held_out(Split split) const {
  if (needles_) return std::make_shared<NeedleStream>(needles_, NeedleShape{gist_.eval_length, split, 0});
  return std::make_shared<PasskeyTask>(
      PasskeyShape{gist_.eval_length, seed_, split, 0, {}, gist_.eval_keys, passkey_kind(gist_.eval_task)});
}

std::shared_ptr<const ContextTask> GistTasks::open_training(const GistShape& shape) const {
  if (needles_)
    return std::make_shared<NeedleStream>(needles_, NeedleShape{shape.tokens, Split::train, shape.distractors});
  PasskeyShape text{shape.tokens, seed_, Split::train, shape.distractors, {}, shape.keys, shape.kind, gist_.samples};
  text.ends = shape.ends;
  text.keys = keys_that_fit(text);
  return std::make_shared<PasskeyTask>(text);
}

std::shared_ptr<const Dataset> GistTasks::with_spans(std::shared_ptr<const ContextTask> task) const {
  if (!gist_.reconstructs()) return task;
  return std::make_shared<RepeatedSpans>(std::move(task), gist_.repeat_shape(seed_));
}

std::string GistTasks::digest() const {
  std::string text = "generated:" + kind_;
  if (!needles_) return text;
  for (const NeedleTexts& texts : needles_->texts) text += " " + id_of(texts);
  const std::string& tokenizer = needles_->form.tokens.name();
  return text + " " + tokenizer.substr(tokenizer.rfind(' ') + 1);
}

void GistTasks::check_phases() const {
  if (!needles_) return;
  for (const GistPhase& phase : gist_.read_phases()) {
    const int64_t segment = *std::ranges::min_element(phase.segments), count = *std::ranges::min_element(phase.counts);
    GistShape shortest;
    shortest.tokens = tokens_of_segments(count, segment, count > 1 ? gist_.overlap : 0);
    gather(*open_training(shortest), 0, 8);
  }
}

}  // namespace braid
