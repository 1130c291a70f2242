// SPDX-License-Identifier: Apache-2.0
// Of a training run: when it saves, what it says of saves, and how it goes back to one.
#include <cstdio>

#include "base/error.h"
#include "comm/agreement.h"
#include "nn/precompiled.h"
#include "train/memory.h"
#include "train/trainer.h"

namespace braid {

// A run that ends because of its numbers keeps the checkpoints it has.
bool Trainer::save_is_due(const Verdict& verdict) const {
  if (verdict.diverged) return false;
  const bool last = at_end() && checkpointer_.config().at_end;
  const bool best = checkpointer_.config().keep_best && position_.is_best();
  return checkpointer_.due(position_.step) || last || best || flags_.stop || flags_.out_of_time || verdict.stop;
}

void Trainer::report_saves() {
  for (const SaveReport& report : checkpointer_.take_reports()) {
    const std::string name = checkpoint_path("checkpoints", report.step);
    if (!report.problem.empty()) {
      recorder_.alarm(report.step - 1, "checkpoint_failed", str(name, " could not be saved: ", report.problem));
      continue;
    }
    char seconds[32];
    std::snprintf(seconds, sizeof seconds, "%.2f s", report.seconds);
    recorder_.event(report.step - 1, "checkpoint_saved", str(name, ": ", human_bytes(report.bytes), " in ", seconds));
    if (!report.warning.empty()) recorder_.alarm(report.step - 1, "checkpoint_kept", report.warning);
  }
}

// Of the checkpoints that this run has committed or began with; "" when none verifies any more.
std::string Trainer::newest_verified(Manifest& manifest) {
  while (checkpointer_.committed_step() >= 0) {
    const int64_t step = checkpointer_.committed_step();
    const std::string path = checkpoint_path(task_.checkpoint.root, step);
    try {
      agree(ranks_.host, [&] { manifest = verify_checkpoint(path, ranks_.host.rank(), ranks_.host.size()); });
      return path;
    } catch (const AgreedError& problem) {
      recorder_.alarm(position_.step - 1, "checkpoint_skipped", problem.what());
      checkpointer_.distrust(step);
    }
  }
  return "";
}

// Every rank loads the newest checkpoint again; the batch that led here, and those left out before, are not seen again.
void Trainer::rewind(const Verdict& verdict) {
  const int64_t bad_step = position_.step, rewinds = position_.rewinds + 1;
  const std::vector<Slice> batch = position_.data.next(plan_.samples), skipped = position_.data.skipped;
  checkpointer_.finish();
  report_saves();
  Manifest manifest;
  const std::string path = newest_verified(manifest);
  if (path.empty()) throw Error(str("step ", bad_step, ": ", verdict.reason, "; there is no checkpoint to go back to"));
  resume(path, manifest);
  position_.rewinds = rewinds;
  position_.data.skip(skipped);
  position_.data.skip(batch);
  recorder_.rewind(position_.step);
  recorder_.alarm(position_.step - 1, "rewind",  // before the step: going back here again must not drop it
                  str("step ", bad_step, ": ", verdict.reason, "; back to step ", position_.step, ", samples ",
                      batch.front().first, " to ", batch.back().first + batch.back().count - 1, " are left out"));
}

}  // namespace braid
