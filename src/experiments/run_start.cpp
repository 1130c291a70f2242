// SPDX-License-Identifier: Apache-2.0
#include "experiments/run_start.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "comm/agreement.h"
#include "experiments/config_changes.h"
#include "store/checkpoint_folder.h"
#include "store/checkpoint_reader.h"
#include "store/run_file.h"

namespace braid {

namespace fs = std::filesystem;

namespace {

// What rank 0 finds and tells the others.
struct Findings {
  bool ended = false, continues = false;
  std::string ended_state, run_id, config;  // config: of OUT/run.h5
  std::string origin;                       // where it began, if elsewhere
  int64_t ended_step = -1, session = 0;
  std::vector<std::string> candidates;      // checkpoint folders, newest first
  std::string note;

  NLOHMANN_DEFINE_TYPE_INTRUSIVE(Findings, ended, continues, ended_state, run_id, config, origin, ended_step, session,
                                 candidates, note)
};

bool is_checkpoint(const std::string& folder) { return fs::exists(folder + "/" + manifest_name); }

std::vector<std::string> paths_of(const std::vector<CheckpointPath>& checkpoints) {
  std::vector<std::string> paths;
  for (const CheckpointPath& checkpoint : checkpoints) paths.push_back(checkpoint.path);
  return paths;
}

// --resume DIR: a checkpoint, or a run whose newest is taken.
std::vector<std::string> candidates_in(const std::string& from) {
  if (is_checkpoint(from)) return {from};
  const std::vector<std::string> paths = paths_of(list_checkpoints(checkpoints_of(from)));
  if (paths.empty()) throw UsageError(str("--resume ", from, ": neither a checkpoint nor a run with checkpoints"));
  return paths;
}

// Whether --resume names the run in OUT, or a checkpoint of it.
bool lies_in(const std::string& from, const std::string& out) {
  const fs::path inner = fs::weakly_canonical(from), outer = fs::weakly_canonical(out);
  const bool named = from != "never" && fs::exists(from);
  return named && (inner == outer || inner.parent_path() == outer / "checkpoints");
}

// The run file of an earlier start in OUT. One that cannot be read is moved out of the way, not lost.
void look_at_run(const std::string& out, const RunConfig& config, Findings& found) {
  const std::string path = out + "/run.h5";
  if (!fs::exists(path)) return;
  try {
    const RunSummary summary = read_run_summary(path);
    found.continues = true;
    found.config = summary.config;
    found.run_id = summary.run_id;
    found.origin = summary.resumed_from;
    found.session = summary.sessions;
    const RunStatus& status = summary.status;
    const bool more = status.state == "done" && config.train.steps > status.planned_steps;  // fewer steps were enough
    found.ended = (status.state == "done" || status.state == "diverged") && !more;
    found.ended_state = status.state;
    found.ended_step = status.last_step;
  } catch (const Error& problem) {
    int64_t number = 1;
    while (fs::exists(str(path, ".unreadable-", number))) ++number;
    fs::rename(path, str(path, ".unreadable-", number));
    found.note = str(problem.what(), "; kept as run.h5.unreadable-", number);
  }
}

Findings look(const std::string& out, const RunConfig& config, const ResumeOptions& resume) {
  Findings found;
  const std::vector<CheckpointPath> here = list_checkpoints(checkpoints_of(out));
  const bool named = resume.from != "auto" && resume.from != "never";
  const std::string origin = named ? fs::weakly_canonical(resume.from).string() : "";
  if (resume.from != "never") look_at_run(out, config, found);
  // The command that began a run from elsewhere goes on with it when given again, as a requeued job gives it.
  if (resume.from == "auto" || (named && found.continues && found.origin == origin)) {
    found.candidates = paths_of(here);
    const bool goes_back = !found.origin.empty() && (here.empty() || fs::exists(found.origin));
    if (!goes_back) return found;
    const std::vector<std::string> first = candidates_in(found.origin);
    found.candidates.insert(found.candidates.end(), first.begin(), first.end());
    return found;
  }
  if (lies_in(resume.from, out)) {
    found.ended = false;
    found.candidates = candidates_in(resume.from);
    return found;
  }
  if (fs::exists(out + "/run.h5") || !here.empty()) {
    throw UsageError(str(out, ": holds another run; choose another --out, remove it, or go on with it by --resume auto"));
  }
  if (!named) return found;
  found.origin = origin;
  found.candidates = candidates_in(resume.from);
  return found;
}

// Refuses a configuration that would make another run of it, and notes what else differs.
void compare_config(const std::string& before, const RunConfig& config, const ResumeOptions& resume,
                    const std::string& where, RunStart& start) {
  const std::vector<ConfigChange> changes = config_changes(before, config);
  const std::string refused = describe_changes(changes, false), harmless = describe_changes(changes, true);
  if (!refused.empty() && !resume.allow_config_change) {
    throw UsageError(str(where, ": this run began with another configuration: ", refused,
                         "; --allow-config-change goes on all the same"));
  }
  if (!harmless.empty()) start.events.emplace_back("config_changed", harmless);
  if (!refused.empty()) start.events.emplace_back("config_change_allowed", refused);
}

// Goes through the candidates until one verifies on every rank.
void find_verified(const Findings& found, const ResumeOptions& resume, Communicator& host, Logger& logger, RunStart& start) {
  for (const std::string& path : found.candidates) {
    try {
      agree(host, [&] { start.manifest = verify_checkpoint(path, host.rank(), host.size()); });
      start.checkpoint = path;
      return;
    } catch (const AgreedError& problem) {
      if (problem.exit_code() == exit_usage || path == resume.from) throw;
      if (host.rank() == 0) logger.warning(str("checkpoint skipped: ", problem.what()));
      start.events.emplace_back("checkpoint_skipped", problem.what());
    }
  }
  start.manifest = Manifest{};
  if (!found.candidates.empty() && resume.from != "auto") {
    throw AgreedError(str("--resume ", resume.from, ": no checkpoint there verifies"), exit_failed);
  }
}

// For /events: where the run begins, unless it is a new one's step 0.
void note_beginning(const Findings& found, Communicator& host, RunStart& start) {
  if (start.checkpoint.empty()) {
    if (found.continues) start.events.emplace_back("restarted", "no checkpoint: from step 0");
    return;
  }
  const char* ranks = host.size() == 1 ? " rank" : " ranks";
  start.events.emplace_back("resumed", str("from ", start.checkpoint, " on ", host.size(), ranks));
  if (!start.manifest.imported()) return;
  start.events.emplace_back("optimizer_fresh", str("weights of ", start.manifest.text("imported"),
                                                   ": the optimiser starts with zeros, after 0 updates"));
}

}  // namespace

RunStart decide_start(const std::string& out, const RunConfig& config, const ResumeOptions& resume, Communicator& host,
                      Logger& logger) {
  Findings found;
  agree_on_root(host, [&] { found = look(out, config, resume); });
  found = nlohmann::json::parse(broadcast_text(host, nlohmann::json(found).dump(), 0)).get<Findings>();
  RunStart start;
  start.continues = found.continues;
  start.run_id = found.run_id;
  start.origin = found.origin;
  start.session = found.session;
  start.ended_state = found.ended_state;
  start.ended_step = found.ended_step;
  if (!found.note.empty()) start.events.emplace_back("run_file_replaced", found.note);
  if (found.ended) {
    agree_on_root(host, [&] { compare_config(found.config, config, resume, out, start); });
    start.ended = true;
    return start;
  }
  find_verified(found, resume, host, logger, start);
  const std::string before = start.checkpoint.empty() ? found.config : start.manifest.text("config");
  if (!before.empty()) {
    const std::string where = start.checkpoint.empty() ? out : start.checkpoint;
    agree(host, [&] { compare_config(before, config, resume, where, start); });
  }
  if (!start.checkpoint.empty() && lies_in(start.checkpoint, out) && resume.from != "auto") {
    agree_on_root(host, [&] {
      for (const int64_t step : set_aside_later(checkpoints_of(out), start.manifest.step)) {
        start.events.emplace_back("checkpoint_set_aside", checkpoint_path("checkpoints", step));
      }
    });
  }
  note_beginning(found, host, start);
  return start;
}

void require_same_data(RunStart& start, const std::string& digest, const ResumeOptions& resume) {
  const std::string& before = start.manifest.text("data_digest");
  if (start.checkpoint.empty() || before.empty() || before == digest) return;
  const std::string change = str("data_digest ", before, " -> ", digest);
  if (!resume.allow_config_change) {
    throw UsageError(str(start.checkpoint, ": this run trained on other data: ", change,
                         "; --allow-config-change goes on all the same"));
  }
  start.events.emplace_back("config_change_allowed", change);
}

}  // namespace braid
