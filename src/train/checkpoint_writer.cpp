// SPDX-License-Identifier: Apache-2.0
#include "train/checkpoint_writer.h"

#include "base/clock.h"
#include "base/error.h"
#include "comm/agreement.h"
#include "store/checkpoint_lookup.h"

namespace braid {

namespace {

constexpr char problem_mark = '!';

}  // namespace

CheckpointWriter::CheckpointWriter(CheckpointTask task, std::unique_ptr<Communicator> comm)
    : task_(std::move(task)), comm_(std::move(comm)) {}

SaveReport CheckpointWriter::write(const StagedSave& staged) {
  const Stopwatch watch;
  SaveReport report;
  report.step = staged.step;
  try {
    write_and_commit(staged, report);
  } catch (const Error& error) {
    report.problem = error.what();
    if (comm_->rank() == 0) discard_temporary(task_.root, staged.step);
  }
  report.seconds = watch.seconds();
  return report;
}

void CheckpointWriter::write_and_commit(const StagedSave& staged, SaveReport& report) {
  agree_on_root(*comm_, [&] { prepare_temporary(task_.root, staged.step); });
  const Manifest manifest{staged.step, "", task_.attributes, staged.state, write_shards(staged)};
  report.bytes = manifest.bytes();
  agree_on_root(*comm_, [&] {
    write_manifest(temporary_path(task_.root, staged.step), manifest);
    if (task_.before_commit) task_.before_commit();
    commit_checkpoint(task_.root, staged.step);
  });
  if (comm_->rank() == 0) report.warning = prune(staged);
}

// What every rank wrote, or the problem of the first that could not.
std::vector<ShardRecord> CheckpointWriter::write_shards(const StagedSave& staged) {
  std::string mine;
  try {
    const RunAttributes attributes = {{"step", staged.step}, {"host", host_name()}};
    mine = to_text(write_shard(temporary_path(task_.root, staged.step), {comm_->rank(), comm_->size()}, attributes,
                               staged.slices));
  } catch (const std::exception& error) {
    mine = str(problem_mark, "rank ", comm_->rank(), " on ", host_name(), ": ", error.what());
  }
  std::vector<ShardRecord> records;
  for (const std::string& text : gather_texts(*comm_, mine)) {
    if (text.front() == problem_mark) throw Error(text.substr(1));
    records.push_back(parse_shard_record(text));
  }
  return records;
}

// A checkpoint that cannot be removed does not undo the one that was saved.
std::string CheckpointWriter::prune(const StagedSave& staged) const {
  std::vector<int64_t> trusted = staged.trusted;
  trusted.push_back(staged.step);
  try {
    const auto best = task_.config.keep_best ? best_checkpoint(task_.root) : std::nullopt;
    prune_checkpoints(task_.root, {task_.config.keep, task_.config.keep_every, best ? best->checkpoint.step : -1}, trusted);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace braid
