// SPDX-License-Identifier: Apache-2.0
#include "experiments/gist_evaluate.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "comm/agreement.h"
#include "data/needle_questions.h"
#include "data/passkey_questions.h"
#include "experiments/gist_tasks.h"
#include "nn/precompiled.h"
#include "store/checkpoint_reader.h"

namespace braid {

namespace {

constexpr int64_t tokens_at_once = 16384;

std::vector<GistSystem> chosen_systems(const SystemNeeds& needs, const GistTest& test) {
  std::vector<GistSystem> systems = gist_systems(needs);
  if (!test.systems.empty()) systems = systems_named(std::move(systems), test.systems);
  if (!test.full) std::erase_if(systems, [](const GistSystem& system) { return system.quadratic; });
  return systems;
}

NeedleTask needle_task_of(PasskeyKind kind) { return needle_task(name_of(kind)); }

// Contexts as long as the first of the file.
QuestionSet questions_like(const std::string& path, const GistTest& test, const NeedleForm& form,
                           const std::vector<int64_t>& stop_ids) {
  const QuestionSet file = needle_questions(path, form, stop_ids);
  NeedleSpec spec;
  spec.name = name_of(test.kind);
  spec.task = needle_task_of(test.kind);
  spec.keys = test.keys;
  spec.least_tokens = spec.most_tokens = std::ssize(file.question(0).context);
  return generated_needle_questions(spec, file.language, form, stop_ids);
}

// How the run's samples become tokens, and what ends an answer.
struct AskingForm {
  NeedleForm form;
  std::vector<int64_t> stop_ids;
};

AskingForm asking_form(const GistRun& run) {
  AskingForm asking{{}, run.loaded.stop_ids};
  const std::string& folder = run.loaded.shape.path;
  if (run.config.data.kind == "needles") {
    asking.form = needle_form_of(run.config.data, run.loaded.shape);
    if (asking.form.tokens.name() == "bytes") asking.stop_ids.push_back(byte_end);
  } else if (!folder.empty()) {
    asking.form.tokens = NeedleTokens::from_file(folder + "/tokenizer.json");
  }
  return asking;
}

// Fresh texts as those that the run was trained on, in the first of its languages.
QuestionSet text_questions(const GistRun& run, const GistTest& test, int64_t length, std::optional<double> depth) {
  const NeedleConfig& needles = run.config.needles;
  NeedleSpec spec;
  const bool several = test.keys > 1 || test.kind != PasskeyKind::multikey;
  spec.task = several ? needle_task_of(test.kind) : NeedleTask::single;
  spec.name = name_of(spec.task);
  spec.keys = test.keys;
  spec.seed = static_cast<uint64_t>(test.seed >= 0 ? test.seed : run.config.train.seed);
  spec.least_tokens = spec.most_tokens = length;
  if (depth) spec.least_depth = spec.most_depth = *depth;
  spec.distractor_rate = test.distractors;
  spec.form = key_form(needles.characters, needles.key_length);
  const AskingForm asking = asking_form(run);
  return generated_needle_questions(spec, needles.language_shares().front().first, asking.form, asking.stop_ids);
}

QuestionSet file_questions(const GistRun& run, const GistTest& test) {
  const std::string& path = test.dataset;
  const std::string folder = run.loaded.shape.path;
  if (folder.empty() && run.config.data.kind == "passkey") {
    throw UsageError(str(path, ": its texts need a tokenizer, and ", run.loaded.checkpoint,
                         " has none: it was trained on the passkey task's tokens"));
  }
  const auto& [form, stop_ids] = asking_form(run);
  return test.generated ? questions_like(path, test, form, stop_ids) : needle_questions(path, form, stop_ids);
}

class Evaluation {
 public:
  Evaluation(GistRun& run, const GistTest& test, Communicator& comm) : run_(run), test_(test), comm_(comm) {}

  std::vector<GistLine> of_file() {
    const QuestionSet set = questions_of(run_, test_, 0, {});
    ask(set, 0, {}, {0, set.size < 0 ? test_.limit : std::min(test_.limit, set.size)}, test_.systems);
    return std::move(lines_);
  }

  // Every cell has samples of its own.
  std::vector<GistLine> of_task() {
    for (const int64_t length : test_.lengths) {
      int64_t next = 0;
      ask(questions_of(run_, test_, length, {}), length, {}, {next, test_.limit}, test_.systems);
      for (const double depth : test_.depths) {
        next += test_.limit;
        ask(questions_of(run_, test_, length, depth), length, depth, {next, test_.limit}, {"gist"});
      }
    }
    return std::move(lines_);
  }

 private:
  void ask(const QuestionSet& set, int64_t length, std::optional<double> depth, Slice questions,
           const std::vector<std::string>& names) {
    const SystemNeeds needs{run_.loaded, set, segment_of(run_, test_), run_.config.gist.overlap};
    GistTest chosen = test_;
    chosen.systems = names;
    const at::Device device = run_.loaded.model->device();
    for (SystemResult& result : examine(chosen_systems(needs, chosen), set, questions, tokens_at_once, device, comm_)) {
      const int64_t tokens = length > 0 ? length : std::llround(result.context_tokens());
      lines_.push_back({set.name, run_.step, tokens, depth, std::move(result)});
    }
  }

  GistRun& run_;
  const GistTest& test_;
  Communicator& comm_;
  std::vector<GistLine> lines_;
};

}  // namespace

double GistLine::ratio() const {
  return result.read_positions > 0 ? result.context_tokens() / result.read_positions : 0;
}

GistRun load_gist_run(const std::string& path, Precision precision, const at::Device& device) {
  ModelSource source;
  source.run = path;
  GistRun run{load_adapted_model(source, precision, device), {}, -1};
  if (!run.loaded.gists) throw UsageError(str(path, ": expected a run with [gist], whose model compresses contexts"));
  const std::string& checkpoint = run.loaded.checkpoint;
  run.config = run_config_of(verify_checkpoint(checkpoint), checkpoint);
  const std::string name = std::filesystem::path(checkpoint).filename().string();
  if (name.starts_with("step-")) run.step = std::stoll(name.substr(5));
  return run;
}

int64_t segment_of(const GistRun& run, const GistTest& test) {
  return test.segment > 0 ? test.segment : run.config.gist.segment;
}

QuestionSet questions_of(const GistRun& run, const GistTest& test, int64_t length, std::optional<double> depth) {
  if (!test.dataset.empty()) return file_questions(run, test);
  if (run.config.data.kind == "needles") return text_questions(run, test, length, depth);
  const int64_t seed = test.seed >= 0 ? test.seed : run.config.train.seed;
  return passkey_questions(
      {length, static_cast<uint64_t>(seed), Split::held_out, test.distractors, depth, test.keys, test.kind});
}

std::vector<GistLine> evaluate_gists(GistRun& run, const GistTest& test, Communicator& comm) {
  const at::NoGradGuard no_gradient;
  GistTest asked = test;
  if (asked.lengths.empty()) asked.lengths = {run.config.gist.eval_length};
  agree(comm, [&] {
    for (const int64_t length : asked.lengths) {
      const QuestionSet set = questions_of(run, asked, length, {});
      const SystemNeeds needs{run.loaded, set, segment_of(run, asked), run.config.gist.overlap};
      needs.plan(std::ssize(set.question(0).context));
      chosen_systems(needs, asked);
    }
  });
  Evaluation evaluation(run, asked, comm);
  return asked.dataset.empty() ? evaluation.of_task() : evaluation.of_file();
}

}  // namespace braid
