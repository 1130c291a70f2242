// SPDX-License-Identifier: Apache-2.0
#include "experiments/gist_config.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <map>
#include <sstream>

#include "base/error.h"
#include "base/philox.h"
#include "data/passkey_task.h"
#include "nn/gist_segments.h"

namespace braid {

void GistConfig::describe(ConfigSection& s) {
  s.value("count", count, "k, learned vectors behind each segment of context; 0: no compression [vectors]", 0, 4096);
  s.value("segment", segment, "S of evaluations, tokens that are compressed together; phases name their own [tokens]",
          passkey::needle_tokens, 1 << 24);
  s.value("overlap", overlap, "tokens that neighbouring segments share, so that nothing is cut at a border [tokens]", 0,
          1 << 20);
  s.value(
      "shard_segments", shard_segments,
      "ranks share out the segments of every sample instead of the samples: each compresses its own, and all receive "
      "the gists");
  s.value(
      "phases", phases,
      "training, one entry a phase: \"segments=64,128 counts=1,2,4 tokens=4096 steps=300\"; further gate (mean "
      "loss that "
      "ends it), rate (share of optim.learning_rate), decay (last share of steps over which the rate falls), "
      "distractors (share of digits in the filler), share (of the steps that have them), keys (numbers of statements, "
      "as many as fit), tasks (what is asked of several: multikey, multivalue, vt) and ends (share of the samples "
      "whose "
      "needle is the first or the last thing in the text) and raw (share of the steps in which questions stand behind "
      "the segments' own keys and values instead of gists)");
  s.value("samples", samples, "training samples of each length, again and again; 0: new ones every step [samples]", 0,
          int64_t{1} << 40);
  s.value("eval_length", eval_length, "context of held-out samples [tokens]", passkey::needle_tokens, 1 << 24);
  s.value("eval_answers", eval_answers, "held-out samples answered freely at each evaluation [samples]", 2, 1 << 20);
  s.value("eval_keys", eval_keys, "statements in each of them", 1, 32);
  s.choice("eval_task", eval_task, {"multikey", "multivalue", "vt"}, "what is asked of several statements");
  s.value(
      "reconstruction", reconstruction,
      "weight of writing a part of the context out again from the gists, behind a learned vector that asks for it; 0: "
      "not asked for [1]",
      0.0, 1e6);
  s.choice(
      "reconstructed", reconstructed, {"needle", "span"},
      "that part: the sentence that holds the answer, or a random stretch of at least 16 tokens, named by its first 4");
  s.value("reconstructed_tokens", reconstructed_tokens, "its longest; of longer needles the end [tokens]", 8, 4096);
  s.value(
      "distillation", distillation,
      "weight of the divergence of answers from those that the model itself, without gists and adapters, gives with "
      "the whole context; needs model.path and adapters [1]",
      0.0, 1e6);
}

namespace {

[[noreturn]] void refuse(const std::string& phase, const std::string& problem) {
  throw UsageError(str("gist.phases: \"", phase, "\": ", problem));
}

template <class T>
T number_of(const std::string& phase, const std::string& key, std::string_view text, T least, T most) {
  T value{};
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = problem == std::errc() && end == text.data() + text.size();
  if (whole && value >= least && value <= most) return value;
  refuse(phase, str(key, ": expected a number from ", least, " to ", most, ", found ", text));
}

std::vector<int64_t> numbers_of(const std::string& phase, const std::string& key, const std::string& text,
                                int64_t least, int64_t most = int64_t{1} << 24) {
  std::vector<int64_t> numbers;
  std::stringstream list(text);
  for (std::string one; std::getline(list, one, ',');) {
    numbers.push_back(number_of<int64_t>(phase, key, one, least, most));
  }
  if (numbers.empty()) refuse(phase, key + ": expected numbers, found nothing");
  return numbers;
}

std::vector<PasskeyKind> kinds_of(const std::string& phase, const std::string& text) {
  std::vector<PasskeyKind> kinds;
  std::stringstream list(text);
  for (std::string one; std::getline(list, one, ',');) {
    try {
      kinds.push_back(passkey_kind(one));
    } catch (const UsageError& problem) {
      refuse(phase, str("tasks: ", problem.what()));
    }
  }
  if (kinds.empty()) refuse(phase, "tasks: expected multikey, multivalue or vt, found nothing");
  return kinds;
}

GistPhase read_phase(const std::string& text) {
  GistPhase phase;
  std::stringstream words(text);
  for (std::string word; words >> word;) {
    const size_t sign = std::min(word.find('='), word.size());
    const std::string key = word.substr(0, sign), value = word.substr(std::min(sign + 1, word.size()));
    const auto share = [&](double most) { return number_of<double>(text, key, value, 0.0, most); };
    const auto whole = [&] { return number_of<int64_t>(text, key, value, 1, int64_t{1} << 31); };
    const std::map<std::string, std::function<void()>> keys = {
        {"segments", [&] { phase.segments = numbers_of(text, key, value, passkey::needle_tokens); }},
        {"counts", [&] { phase.counts = numbers_of(text, key, value, 1); }},
        {"tokens", [&] { phase.tokens = whole(); }},
        {"steps", [&] { phase.steps = whole(); }},
        {"gate", [&] { phase.gate = share(1e6); }},
        {"rate", [&] { phase.rate = share(1e6); }},
        {"decay", [&] { phase.decay = share(1); }},
        {"distractors", [&] { phase.distractors = share(1); }},
        {"share", [&] { phase.share = share(1); }},
        {"keys", [&] { phase.keys = numbers_of(text, key, value, 1, 32); }},
        {"tasks", [&] { phase.tasks = kinds_of(text, value); }},
        {"ends", [&] { phase.ends = share(1); }},
        {"raw", [&] { phase.raw = share(1); }}};
    const auto known = keys.find(key);
    if (known == keys.end()) {
      refuse(text,
             str("expected segments, counts, tokens, steps, gate, rate, decay, distractors, share, keys, tasks, ends or "
                 "raw, found ",
                 key));
    }
    known->second();
  }
  if (phase.segments.empty()) refuse(text, "expected segments=");
  if (phase.steps == 0) refuse(text, "expected steps=");
  return phase;
}

}  // namespace

RepeatShape GistConfig::repeat_shape(uint64_t seed) const {
  return {reconstructed == "needle", std::min<int64_t>(16, reconstructed_tokens), reconstructed_tokens, seed};
}

int64_t GistConfig::positions(int64_t question_tokens) const {
  int64_t longest = segment, whole = 0;
  for (const GistPhase& phase : read_phases()) {
    const int64_t most = *std::ranges::max_element(phase.segments), times = *std::ranges::max_element(phase.counts);
    longest = std::max(longest, most);
    whole = std::max(whole, tokens_of_segments(times, most, times > 1 ? overlap : 0));
  }
  const int64_t compressed = longest + count + std::max(question_tokens, reconstructs() ? reconstructed_tokens : 0);
  return std::max(compressed, distillation > 0 ? whole + question_tokens : 0);
}

std::vector<GistPhase> GistConfig::read_phases() const {
  std::vector<GistPhase> read;
  for (const std::string& phase : phases) read.push_back(read_phase(phase));
  return read;
}

void GistConfig::check(const ModelConfig& model) const {
  if (!enabled()) return;
  if (!model.is_llama()) {
    throw UsageError("gist.count: expected model.dialect = \"llama\", whose positions are relative");
  }
  if (model.has_streams()) throw UsageError("gist.count: expected model.residual = \"residual\"");
  if (phases.empty()) throw UsageError("gist.phases: expected at least one phase, found none");
  if (const PasskeyShape shape{eval_length, 0, Split::held_out, 0, {}, eval_keys, passkey_kind(eval_task)};
      keys_that_fit(shape) < eval_keys) {
    throw UsageError(str("gist.eval_keys: ", eval_keys, " do not fit into gist.eval_length of ", eval_length));
  }
  int64_t shortest = segment;
  const std::vector<GistPhase> read = read_phases();
  for (const GistPhase& phase : read) {
    const bool several = *std::max_element(phase.counts.begin(), phase.counts.end()) > 1;
    if (several) shortest = std::min(shortest, *std::min_element(phase.segments.begin(), phase.segments.end()));
  }
  if (overlap < shortest) return;
  throw UsageError(str("gist.overlap: expected less than the shortest segment of ", shortest, ", found ", overlap));
}

std::vector<PhaseLimits> limits_of(const std::vector<GistPhase>& phases) {
  std::vector<PhaseLimits> limits;
  for (const GistPhase& phase : phases) limits.push_back({phase.steps, phase.gate});
  return limits;
}

GistShape shape_of(const GistPhase& phase, int64_t segment, int64_t segments, int64_t overlap) {
  GistShape shape;
  shape.segment = segment;
  shape.segments = segments;
  shape.tokens = tokens_of_segments(segments, segment, segments > 1 ? overlap : 0);
  shape.samples = std::max<int64_t>(1, phase.tokens / shape.tokens);
  return shape;
}

GistShape gist_shape(const GistPhase& phase, int64_t overlap, uint64_t seed, int64_t step, int64_t step_in_phase) {
  const RandomStream random(seed, RandomPurpose::task, "gist shape", step);
  const int64_t segment = phase.segments[static_cast<size_t>(random.below(0, std::ssize(phase.segments)))];
  GistShape shape = shape_of(phase, segment, phase.counts[static_cast<size_t>(random.below(1, std::ssize(phase.counts)))], overlap);
  shape.distractors = random.uniform(2) < phase.share ? phase.distractors : 0;
  shape.keys = phase.keys[static_cast<size_t>(random.below(3, std::ssize(phase.keys)))];
  shape.kind = phase.tasks[static_cast<size_t>(random.below(4, std::ssize(phase.tasks)))];
  shape.ends = phase.ends;
  shape.raw = random.uniform(5) < phase.raw;
  if (shape.keys == 1) shape.kind = PasskeyKind::multikey;
  const double left = 1 - double(step_in_phase) / double(phase.steps);
  shape.rate = phase.rate * (left < phase.decay ? 0.1 + 0.9 * left / phase.decay : 1.0);
  return shape;
}

}  // namespace braid
