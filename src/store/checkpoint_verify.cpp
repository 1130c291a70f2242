// SPDX-License-Identifier: Apache-2.0
#include "store/checkpoint_verify.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "base/clock.h"
#include "base/error.h"
#include "store/crc32c.h"
#include "store/sealed_file.h"

namespace braid {

namespace {

// Runs `act`, and takes down how long it took and what it threw.
FileCheck timed(const std::string& path, const std::function<void(FileCheck&)>& act) {
  FileCheck check;
  check.path = path;
  const Stopwatch watch;
  try {
    check.bytes = PosixFile::open_to_read(path).size();
    act(check);
  } catch (const UsageError& problem) {
    check.newer = true;
    check.problems.push_back(problem.what());
  } catch (const Error& problem) {
    check.problems.push_back(problem.what());
  }
  check.seconds = watch.seconds();
  return check;
}

// Digests a file once, piece by piece: each slice by itself, what lies between them, and from these the whole.
class ShardScan {
 public:
  ShardScan(const PosixFile& file, FileCheck& check) : file_(file), check_(check) {}

  void take(const StoredSlice& stored) {
    if (stored.slice.count == 0) return;
    const int64_t end = stored.offset + static_cast<int64_t>(stored.slice.bytes());
    if (stored.offset < at_ || end > check_.bytes) {
      throw Error(str(check_.path, ": tensor ", stored.slice.name, " does not lie where the manifest says"));
    }
    append(stored.offset);
    if (append(end) != stored.crc) {
      const std::string& tensor = stored.slice.name;
      check_.problems.push_back(str(check_.path, ": damaged: the CRC-32C of tensor ", tensor, " does not fit"));
    }
    ++check_.slices;
  }

  uint32_t finish() {
    append(check_.bytes);
    return crc_;
  }

 private:
  uint32_t append(int64_t end) {
    const uint32_t part = digest_of_range(file_, at_, end);
    crc_ = crc32c_combine(crc_, part, static_cast<uint64_t>(end - at_));
    at_ = end;
    return part;
  }

  const PosixFile& file_;
  FileCheck& check_;
  int64_t at_ = seal_bytes;
  uint32_t crc_ = 0;
};

void check_shard(const ShardRecord& record, FileCheck& check) {
  PosixFile file = PosixFile::open_to_read(check.path);
  const Seal seal = read_seal(file);
  if (seal.crc != record.crc || seal.file_bytes != record.bytes) {
    throw Error(check.path + ": not the shard that the manifest was written for");
  }
  file.expect_in_order();
  std::vector<StoredSlice> slices = record.slices;
  std::sort(slices.begin(), slices.end(), [](const auto& a, const auto& b) { return a.offset < b.offset; });
  ShardScan scan(file, check);
  for (const StoredSlice& stored : slices) scan.take(stored);
  if (scan.finish() != seal.crc && check.problems.empty()) {
    check.problems.push_back(
        str(check.path, ": damaged outside of its tensors: its CRC-32C is not the one that was written"));
  }
}

std::vector<std::string> shards_in(const std::string& folder) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().filename().string().starts_with("shard-")) paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace

void check_checkpoint(const std::string& folder, const std::function<void(const FileCheck&)>& report) {
  std::optional<Manifest> manifest;
  report(timed(folder + "/" + manifest_name, [&](FileCheck&) { manifest = read_manifest(folder); }));
  if (!manifest) {
    for (const std::string& path : shards_in(folder)) {
      report(timed(path, [&](FileCheck& check) { verify_sealed_file(check.path); }));
    }
    return;
  }
  for (const ShardRecord& record : manifest->shards) {
    report(timed(folder + "/" + record.file, [&](FileCheck& check) { check_shard(record, check); }));
  }
}

}  // namespace braid
