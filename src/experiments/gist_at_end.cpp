// SPDX-License-Identifier: Apache-2.0
#include "experiments/gist_at_end.h"

#include <filesystem>

#include "base/error.h"
#include "comm/agreement.h"
#include "experiments/gist_report.h"
#include "experiments/run.h"
#include "experiments/version.h"
#include "store/h5.h"

namespace braid {

namespace {

// An evaluation of this checkpoint, from an earlier start.
bool is_there(const std::string& path, const std::string& checkpoint) {
  if (!std::filesystem::exists(path)) return false;
  const auto lock = h5::library_lock();
  const h5::File file = h5::File::open(path);
  return h5::has_attribute(file, "run") && h5::text_attribute(file, "run") == checkpoint;
}

}  // namespace

void evaluate_at_end(const RunConfig& config, const std::string& out, World& world, Communicator& comm, Logger& logger) {
  if (config.eval.at_end.empty()) return;
  GistRun run;
  agree(comm, [&] { run = load_gist_run(out, Precision::fp32, device_of(world)); });
  for (size_t i = 0; i < config.eval.at_end.size(); ++i) {
    const std::string path = str(out, "/eval_", i + 1, ".h5");
    bool there = false;
    agree_on_root(comm, [&] { there = is_there(path, run.loaded.checkpoint); });
    if (broadcast_text(comm, there ? "yes" : "", 0) == "yes") continue;
    const GistTest test = read_gist_test(config.eval.at_end[i]);
    const GistReport report = report_gists(run, test, {config.eval.targets, config.eval.targets ? int64_t{8} : int64_t{0}}, comm);
    agree_on_root(comm, [&] {
      write_gist_file(path, report,
                      {{"run", run.loaded.checkpoint},
                       {"suite", config.eval.at_end[i]},
                       {"gists", config.gist.count},
                       {"segment", segment_of(run, test)},
                       {"git_commit", std::string(git_commit())},
                       {"world_size", int64_t{comm.size()}}});
      const AnswerTally tally = report.lines.front().result.tally();
      logger.info(str("evaluated ", config.eval.at_end[i], ": ", tally.strict, " of ", tally.answers, " strict; see ", path));
    });
  }
}

}  // namespace braid
