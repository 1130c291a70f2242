// SPDX-License-Identifier: Apache-2.0
#include "experiments/gist_probe.h"

#include "base/clock.h"
#include "nn/kernel_call.h"
#include "nn/precompiled.h"
#include "train/memory.h"

namespace braid {

namespace {

AskedBatch repeated(const AskedBatch& one, int64_t count) {
  AskedBatch batch{std::vector<Question>(static_cast<size_t>(count), one.questions.front()),
                   one.context.repeat({count, 1}), one.question.repeat({count, 1}), one.other.repeat({count, 1})};
  return batch;
}

ProbeLine probe(const GistSystem& system, const AskedBatch& batch) {
  const at::Device device = batch.context.device();
  ProbeLine line{system.name, batch.context.size(0), batch.context.size(1)};
  line.resident_bytes = start_memory_watch(device);
  const Stopwatch compressing;
  const KeptContexts kept = system.compress(batch);
  wait_for(device);
  line.compress_seconds = compressing.seconds();
  const Stopwatch answering;
  kept.answer();
  wait_for(device);
  line.answer_seconds = answering.seconds();
  line.peak_bytes = watched_peak_bytes(device);
  return line;
}

// Whether twice what a batch took on top of what was held would still fit, with a fifth to spare.
bool may_double(const ProbeLine& line, const at::Device& device) {
  const int64_t taken = std::max<int64_t>(line.peak_bytes - line.resident_bytes, 0);
  return double(2 * taken) < 0.8 * double(free_memory_bytes(device));
}

}  // namespace

std::vector<ProbeLine> probe_batches(GistRun& run, const GistTest& test, int64_t limit) {
  if (limit < 1) return {};
  const at::NoGradGuard no_gradient;
  const at::Device device = run.loaded.model->device();
  const QuestionSet set = questions_of(run, test, test.lengths.empty() ? run.config.gist.eval_length : test.lengths[0], {});
  const SystemNeeds needs{run.loaded, set, segment_of(run, test), run.config.gist.overlap};
  const std::vector<GistSystem> systems = systems_named(gist_systems(needs), {"gist", "full"});
  const AskedBatch one = asked_batch(set, {0, 1}, device);
  for (const GistSystem& system : systems) probe(system, one);  // first calls are slower
  std::vector<ProbeLine> first, last;
  for (int64_t batch = 1; batch <= limit; batch *= 2) {
    const AskedBatch asked = repeated(one, batch);
    std::vector<ProbeLine> now;
    try {
      for (const GistSystem& system : systems) now.push_back(probe(system, asked));
    } catch (const std::exception& problem) {
      if (!is_out_of_memory(problem) || first.empty()) throw;
      break;
    }
    (batch == 1 ? first : last) = now;
    if (!may_double(now.back(), device)) break;
  }
  first.insert(first.end(), last.begin(), last.end());
  return first;
}

}  // namespace braid
