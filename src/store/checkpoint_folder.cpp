// SPDX-License-Identifier: Apache-2.0
#include "store/checkpoint_folder.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "base/error.h"
#include "store/posix_file.h"

namespace braid {

namespace fs = std::filesystem;

namespace {

constexpr const char* prefix = "step-";
constexpr const char* temporary_suffix = ".tmp";

// The step of a name like step-00001000, of nothing else.
std::optional<int64_t> step_of(const std::string& name) {
  if (!name.starts_with(prefix)) return std::nullopt;
  const char* first = name.data() + std::string(prefix).size();
  const char* end = name.data() + name.size();
  int64_t step = 0;
  const auto [after, problem] = std::from_chars(first, end, step);
  if (first == end || problem != std::errc{} || after != end || step < 0) return std::nullopt;
  return step;
}

[[noreturn]] void fail(const fs::path& path, const char* what, const std::error_code& problem) {
  throw Error(str(path.string(), ": cannot be ", what, ": ", problem.message()));
}

// Out of the list first: a removal that is cut short must not leave half a checkpoint under a good name.
void remove_checkpoint(const std::string& root, int64_t step) {
  const fs::path path = checkpoint_path(root, step), doomed = temporary_path(root, step);
  std::error_code problem;
  fs::rename(path, doomed, problem);
  if (problem) fail(path, "removed", problem);
  fs::remove_all(doomed, problem);
  if (problem) fail(doomed, "removed", problem);
}

void move_aside(const fs::path& path) {
  std::error_code problem;
  int64_t number = 1;
  while (fs::exists(str(path.string(), ".broken-", number), problem)) ++number;
  fs::rename(path, str(path.string(), ".broken-", number), problem);
  if (problem) fail(path, "renamed", problem);
}

}  // namespace

std::string checkpoints_of(const std::string& run_folder) { return run_folder + "/checkpoints"; }

std::string checkpoint_path(const std::string& root, int64_t step) {
  char name[32];
  std::snprintf(name, sizeof name, "%s%08lld", prefix, static_cast<long long>(step));
  return root + "/" + name;
}

std::string temporary_path(const std::string& root, int64_t step) { return checkpoint_path(root, step) + temporary_suffix; }

std::vector<CheckpointPath> list_checkpoints(const std::string& root) {
  std::vector<CheckpointPath> found;
  std::error_code problem;
  for (fs::directory_iterator at(root, problem), end; !problem && at != end; at.increment(problem)) {
    if (const auto step = step_of(at->path().filename().string())) found.push_back({*step, at->path().string()});
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.step > b.step; });
  return found;
}

void remove_stale(const std::string& root) {
  std::error_code problem;
  std::vector<fs::path> stale;
  for (fs::directory_iterator at(root, problem), end; !problem && at != end; at.increment(problem)) {
    const fs::path& path = at->path();
    if (path.extension() == temporary_suffix && step_of(path.stem().string())) stale.push_back(path);
  }
  for (const fs::path& path : stale) {
    fs::remove_all(path, problem);
    if (problem) fail(path, "removed", problem);
  }
}

void prepare_temporary(const std::string& root, int64_t step) {
  const fs::path path = temporary_path(root, step);
  std::error_code problem;
  fs::remove_all(path, problem);
  if (problem) fail(path, "removed", problem);
  fs::create_directories(path, problem);
  if (problem) fail(path, "created", problem);
}

void commit_checkpoint(const std::string& root, int64_t step) {
  const fs::path temporary = temporary_path(root, step), path = checkpoint_path(root, step);
  sync_folder(temporary.string());
  std::error_code problem;
  if (fs::exists(path, problem)) move_aside(path);
  fs::rename(temporary, path, problem);
  if (problem) fail(temporary, "renamed", problem);
  sync_folder(root);
}

std::vector<int64_t> set_aside_later(const std::string& root, int64_t step) {
  std::vector<int64_t> moved;
  for (const CheckpointPath& checkpoint : list_checkpoints(root)) {
    if (checkpoint.step <= step) continue;
    move_aside(checkpoint.path);
    moved.push_back(checkpoint.step);
  }
  return moved;
}

void discard_temporary(const std::string& root, int64_t step) noexcept {
  try {
    std::error_code ignored;
    fs::remove_all(temporary_path(root, step), ignored);
  } catch (const std::exception&) {
    // Out of memory: the next start removes it.
  }
}

std::vector<int64_t> prune_checkpoints(const std::string& root, const Retention& retention,
                                       const std::vector<int64_t>& trusted) {
  std::vector<int64_t> removed;
  int64_t newer = 0;  // trusted ones that stay
  for (const CheckpointPath& checkpoint : list_checkpoints(root)) {
    const bool milestone = retention.every > 0 && checkpoint.step % retention.every == 0;
    if (newer < std::max<int64_t>(retention.last, 1) || milestone || checkpoint.step == retention.best) {
      newer += std::find(trusted.begin(), trusted.end(), checkpoint.step) != trusted.end();
      continue;
    }
    remove_checkpoint(root, checkpoint.step);
    removed.push_back(checkpoint.step);
  }
  return removed;
}

}  // namespace braid
