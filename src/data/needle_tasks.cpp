// SPDX-License-Identifier: Apache-2.0
#include "data/needle_tasks.h"

#include <algorithm>

#include "base/error.h"

namespace braid {

namespace {

constexpr int64_t most_tries = 1000;  // to draw something that is not there yet

// So many different texts.
template <class Draw>
std::vector<std::string> distinct(int64_t count, const char* what, const Draw& draw) {
  std::vector<std::string> all;
  for (int64_t tries = 0; static_cast<int64_t>(all.size()) < count; ++tries) {
    if (tries == most_tries + count) throw UsageError(str("needles: there are not ", count, " different ", what));
    const std::string one = draw();
    if (std::find(all.begin(), all.end(), one) == all.end()) all.push_back(one);
  }
  return all;
}

// Draws wordings of one sample.
struct Writer {
  const NeedleSpec& spec;
  const NeedleTexts& texts;
  NeedleSplit split;
  NeedleDraws& draws;

  std::string filled(const std::vector<std::string>& wordings, const SlotValues& given) const {
    return fill(draws.pick(wordings), texts.words, given, draws);
  }
  std::vector<std::string> values(const KeyForm& form, int64_t count) const {
    return distinct(count, "keys of this form", [&] { return draw_key(form, split, draws); });
  }
  // Labels as they stand within a sentence.
  std::vector<std::string> labels(int64_t count) const {
    return distinct(count, "labels", [&] {
      std::string label = filled(texts.labels, {});
      if (label[0] >= 'A' && label[0] <= 'Z') label[0] = static_cast<char>(label[0] - 'A' + 'a');
      return label;
    });
  }
};

std::string listed(const std::vector<std::string>& labels, const NeedleTexts& texts) {
  std::string text;
  for (size_t i = 0; i < labels.size(); ++i) {
    text += (i == 0 ? "" : i + 1 == labels.size() ? texts.before_last : texts.between) + labels[i];
  }
  return text;
}

NeedlePlan plan_single(const Writer& writer) {
  const std::string value = writer.values(writer.spec.form, 1)[0];
  NeedlePlan plan;
  plan.statements = {{"", value, writer.filled(writer.texts.needles, {{"value", value}})}};
  plan.question = writer.filled(writer.texts.questions, {});
  plan.answers = plan.secrets = {value};
  return plan;
}

// A key for each of several labels, or (multivalue) several keys for one.
NeedlePlan plan_keyed(const Writer& writer) {
  const NeedleTask task = writer.spec.task;
  const bool many = task == NeedleTask::multivalue;
  const int64_t count = writer.spec.keys;
  const std::vector<std::string> labels = writer.labels(many ? 1 : count),
                                 values = writer.values(writer.spec.form, count);
  NeedlePlan plan;
  for (size_t i = 0; i < values.size(); ++i) {
    const std::string& label = labels[many ? 0 : i];
    const auto& wordings = many ? writer.texts.many_needles : writer.texts.keyed_needles;
    plan.statements.push_back({label, values[i], writer.filled(wordings, {{"label", label}, {"value", values[i]}})});
  }
  plan.answers = plan.secrets = values;
  if (task == NeedleTask::multikey) {
    const auto asked = static_cast<size_t>(writer.draws.below(count));
    plan.answers = {values[asked]};
    plan.question = writer.filled(writer.texts.keyed_questions, {{"label", labels[asked]}});
  } else if (many) {
    plan.question = writer.filled(writer.texts.many_questions, {{"label", labels[0]}});
  } else {
    plan.question = writer.filled(writer.texts.several_questions, {{"labels", listed(labels, writer.texts)}});
  }
  return plan;
}

NeedlePlan plan_chain(const Writer& writer) {
  NeedlePlan plan;
  plan.form = key_form("letters", 5);
  plan.in_order = true;
  const std::string value = writer.values(key_form("digits", 5), 1)[0];
  const std::vector<std::string> names = writer.values(plan.form, writer.spec.keys + 1);
  plan.statements = {
      {names[0], value, writer.filled(writer.texts.chain_starts, {{"name", names[0]}, {"value", value}})}};
  for (size_t i = 1; i < names.size(); ++i) {
    const SlotValues given = {{"name", names[i]}, {"other", names[i - 1]}};
    plan.statements.push_back({names[i], names[i - 1], writer.filled(writer.texts.chain_links, given)});
  }
  plan.question = writer.filled(writer.texts.chain_questions, {{"value", value}});
  plan.answers = plan.secrets = names;
  plan.secrets.push_back(value);
  return plan;
}

}  // namespace

NeedlePlan plan_needles(const NeedleSpec& spec, const NeedleTexts& texts, NeedleSplit split, NeedleDraws& draws) {
  const Writer writer{spec, texts, split, draws};
  NeedlePlan plan = spec.task == NeedleTask::single ? plan_single(writer)
                    : spec.task == NeedleTask::vt   ? plan_chain(writer)
                                                    : plan_keyed(writer);
  if (spec.task != NeedleTask::vt) plan.form = spec.form;
  plan.instruction = writer.filled(texts.instructions, {});
  return plan;
}

}  // namespace braid
