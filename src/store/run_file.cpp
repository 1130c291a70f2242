// SPDX-License-Identifier: Apache-2.0
// The run file in use: producers pack rows into a batch, one thread writes batches with HDF5, keeps the rows that are
// not yet known to be on disk, and moves to a new file when the old one is distrusted.
#include "store/run_file.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "store/run_writer.h"

namespace braid {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr size_t queue_rows = 100'000;
constexpr milliseconds flush_interval{200}, heartbeat_interval{5'000}, sync_interval{10'000}, retry_interval{3'000};

// What producers hand over at once: packed rows of each series, in order.
struct Batch {
  std::vector<Bytes> rows;
  size_t count = 0;  // rows in all
  std::optional<RunStatus> status;
  uint64_t drain = 0;  // number of the newest drain() that waits
  bool stop = false;
};

class LiveRunFile : public RunFile {
 public:
  LiveRunFile(std::string path, std::vector<Series> series, RunAttributes attributes, std::string created_utc);
  ~LiveRunFile() override;

  // Writes a new file, with what `old` says of the present one and the rows in memory, and puts it at path.
  void make_file(const RowsToCopy* old);
  void start() { thread_ = std::thread([this] { run(); }); }

  void append(const std::string& table, Row row) override;
  void append_layers(int64_t step, const LayerRows& rows) override;
  void status(const RunStatus& status) override;
  void drain() override;
  bool healthy() const override { return trouble().empty(); }
  std::string trouble() const override;

 private:
  size_t index_of(const std::string& name) const;
  void hand_over(const std::vector<std::pair<size_t, Bytes>>& rows);

  // The I/O thread.
  void run();
  Batch wait_for_batch();
  bool urgent() const { return waiting_.stop || waiting_.drain > drained_ || waiting_.count > queue_rows / 2; }
  Clock::time_point deadline() const;
  void take(const Batch& batch);
  void write(bool sync_now);
  void replace_file();
  void need_space() const;
  void attempt(bool sync_now, bool now);
  void finish();
  void drop_writer();
  void append_kept();
  void put_status();
  void sync();
  void count_as_synced();
  void set_trouble(const std::string& trouble);

  const std::string path_;
  const std::vector<Series> series_;
  const RunAttributes attributes_;
  const std::string created_utc_;
  std::thread thread_;

  mutable std::mutex mutex_;
  std::condition_variable work_, room_, drained_changed_;
  Batch waiting_;
  uint64_t drained_ = 0;
  std::string trouble_;

  // Of the I/O thread alone. The rows of series i are the good_[i] first of the file, followed by kept_[i], of which
  // written_[i] bytes were handed to HDF5 but not yet synced: those are what a new file needs.
  std::unique_ptr<RunWriter> writer_;  // null while no file is trusted
  std::vector<int64_t> good_;
  std::vector<Bytes> kept_;
  std::vector<size_t> written_;
  RunStatus status_;
  bool status_new_ = true, unsynced_ = false;
  bool stuck_ = false;  // HDF5 holds on to a distrusted file: no new one can be made from it in this process
  Clock::time_point last_flush_{}, last_heartbeat_{}, last_sync_{}, last_try_{};
};

LiveRunFile::LiveRunFile(std::string path, std::vector<Series> series, RunAttributes attributes,
                         std::string created_utc)
    : path_(std::move(path)),
      series_(std::move(series)),
      attributes_(std::move(attributes)),
      created_utc_(std::move(created_utc)),
      good_(series_.size()),
      kept_(series_.size()),
      written_(series_.size()) {
  waiting_.rows.resize(series_.size());
}

LiveRunFile::~LiveRunFile() {
  {
    const std::lock_guard lock(mutex_);
    waiting_.stop = true;
  }
  work_.notify_one();
  if (thread_.joinable()) thread_.join();
}

size_t LiveRunFile::index_of(const std::string& name) const {
  size_t index = 0;
  while (index < series_.size() && series_[index].name != name) ++index;
  if (index == series_.size()) throw Error(str(path_, ": no table or layer metric ", name));
  return index;
}

void LiveRunFile::append(const std::string& table, Row row) {
  const size_t index = index_of(table);
  hand_over({{index, pack_row(series_[index], row)}});
}

void LiveRunFile::append_layers(int64_t step, const LayerRows& rows) {
  std::vector<std::pair<size_t, Bytes>> packed = {{index_of("layers/step"), pack_step(step)}};
  std::set<size_t> given;
  for (const auto& [name, values] : rows) {
    const size_t index = index_of("layers/" + name);
    packed.emplace_back(index, pack_row(series_[index], values));
    given.insert(index);
  }
  const auto metrics = std::count_if(series_.begin(), series_.end(), [](const Series& s) { return s.is_matrix(); });
  if (static_cast<size_t>(metrics) != given.size() || rows.size() != given.size()) {
    throw Error(str(path_, ": ", rows.size(), " rows given for ", metrics, " layer metrics"));
  }
  hand_over(packed);
}

void LiveRunFile::hand_over(const std::vector<std::pair<size_t, Bytes>>& rows) {
  std::unique_lock lock(mutex_);
  room_.wait(lock, [&] { return waiting_.count < queue_rows; });
  for (const auto& [index, packed] : rows) {
    waiting_.rows[index].insert(waiting_.rows[index].end(), packed.begin(), packed.end());
    ++waiting_.count;
  }
  lock.unlock();
  work_.notify_one();
}

void LiveRunFile::status(const RunStatus& status) {
  const std::lock_guard lock(mutex_);
  waiting_.status = status;
  work_.notify_one();
}

void LiveRunFile::drain() {
  std::unique_lock lock(mutex_);
  const uint64_t mine = ++waiting_.drain;
  work_.notify_one();
  drained_changed_.wait(lock, [&] { return drained_ >= mine; });
  if (!trouble_.empty()) throw Error(trouble_);
}

std::string LiveRunFile::trouble() const {
  const std::lock_guard lock(mutex_);
  return trouble_;
}

void LiveRunFile::set_trouble(const std::string& trouble) {
  const std::lock_guard lock(mutex_);
  trouble_ = trouble;
}

Clock::time_point LiveRunFile::deadline() const {
  if (!writer_) return last_try_ + retry_interval;
  const Clock::time_point heartbeat = last_heartbeat_ + heartbeat_interval;
  return unsynced_ ? std::min(heartbeat, last_sync_ + sync_interval) : heartbeat;
}

// Returns at once after a pause, and otherwise what gathered since the last flush.
Batch LiveRunFile::wait_for_batch() {
  std::unique_lock lock(mutex_);
  work_.wait_until(lock, deadline(), [&] { return urgent() || waiting_.count > 0 || waiting_.status; });
  work_.wait_until(lock, last_flush_ + flush_interval, [&] { return urgent(); });
  Batch batch;
  batch.rows.resize(series_.size());
  batch.drain = waiting_.drain;
  batch.stop = waiting_.stop;
  std::swap(batch, waiting_);
  room_.notify_all();
  return batch;
}

void LiveRunFile::run() {
  h5::silence();
  bool stop = false;
  while (!stop) {
    const Batch batch = wait_for_batch();
    stop = batch.stop;
    take(batch);
    const bool wanted = stop || batch.drain > drained_;
    attempt(wanted, wanted);
    if (stop) finish();
    const std::lock_guard lock(mutex_);
    drained_ = batch.drain;
    drained_changed_.notify_all();
  }
}

void LiveRunFile::take(const Batch& batch) {
  if (stuck_) return;
  for (size_t i = 0; i < series_.size(); ++i) {
    kept_[i].insert(kept_[i].end(), batch.rows[i].begin(), batch.rows[i].end());
  }
  if (batch.status) status_ = *batch.status;
  status_new_ = status_new_ || batch.status;
}

// One step of work that never throws: writes, or tries a new file when the old one is distrusted (every few seconds,
// and at once when `now`).
void LiveRunFile::attempt(bool sync_now, bool now) {
  const auto alone = h5::library_lock();
  try {
    if (writer_) return write(sync_now);
  } catch (const std::exception& error) {
    drop_writer();
    set_trouble(str(error.what(), stuck_ ? "; the rest of this run is not recorded" : ""));
  }
  if (stuck_ || (!now && Clock::now() < last_try_ + retry_interval)) return;
  try {
    replace_file();
    set_trouble("");
  } catch (const std::exception& error) {
    set_trouble(error.what());
  }
  last_flush_ = last_try_ = Clock::now();
}

void LiveRunFile::drop_writer() {
  stuck_ = stuck_ || (writer_ && !writer_->abandon());
  writer_.reset();
}

void LiveRunFile::finish() {
  const auto alone = h5::library_lock();
  if (!writer_) return;
  try {
    writer_->close();
  } catch (const std::exception& error) {
    drop_writer();
    set_trouble(error.what());
    attempt(true, true);
  }
}

void LiveRunFile::write(bool sync_now) {
  append_kept();
  const Clock::time_point now = Clock::now();
  if (status_new_ || now >= last_heartbeat_ + heartbeat_interval) put_status();
  last_flush_ = now;
  if (sync_now || (unsynced_ && now >= last_sync_ + sync_interval)) sync();
}

void LiveRunFile::append_kept() {
  for (size_t i = 0; i < series_.size(); ++i) {
    writer_->append(i, kept_[i].data() + written_[i], kept_[i].size() - written_[i]);
    unsynced_ = unsynced_ || written_[i] < kept_[i].size();
    written_[i] = kept_[i].size();
  }
  writer_->flush();
}

void LiveRunFile::put_status() {
  writer_->write_status(pack_status(status_, unix_seconds()));
  last_heartbeat_ = Clock::now();
  status_new_ = false;
  unsynced_ = true;
}

void LiveRunFile::sync() {
  writer_->sync();
  count_as_synced();
}

void LiveRunFile::count_as_synced() {
  for (size_t i = 0; i < series_.size(); ++i) {
    good_[i] = writer_->rows(i);
    kept_[i].clear();
    written_[i] = 0;
  }
  last_sync_ = Clock::now();
  unsynced_ = false;
}

void LiveRunFile::make_file(const RowsToCopy* old) {
  const std::string fresh = path_ + ".new";
  try {
    writer_ = std::make_unique<RunWriter>(fresh, series_, attributes_, created_utc_);
    if (old) writer_->copy_from(path_, *old);
    written_.assign(series_.size(), 0);
    append_kept();
    put_status();
    writer_->sync();
    writer_->publish(path_);
    count_as_synced();
  } catch (const std::exception&) {
    drop_writer();
    unlink(fresh.c_str());
    throw;
  }
}

// A copy of a large file on a full disk would fail after much writing, and take the last space from others.
void LiveRunFile::need_space() const {
  std::error_code failed;
  uint64_t needed = std::filesystem::file_size(path_, failed);
  for (const Bytes& rows : kept_) needed += rows.size();
  struct statvfs disk{};
  if (failed || statvfs(path_.c_str(), &disk) != 0) return;
  const uint64_t free = uint64_t{disk.f_bavail} * disk.f_frsize;
  if (free >= needed) return;
  throw Error(str(path_, ": no space left on device (", free >> 10, " KiB free, ", needed >> 10,
                  " KiB needed to write it anew); rows wait in memory"));
}

void LiveRunFile::replace_file() {
  need_space();
  RowsToCopy old;
  old.rows = good_;
  make_file(&old);
}

}  // namespace

std::unique_ptr<RunFile> RunFile::create(const std::string& path, const RunFileSpec& spec) {
  std::error_code unreadable;  // creating it will say why
  if (std::filesystem::exists(path, unreadable)) throw UsageError(path + " holds another run");
  auto file = std::make_unique<LiveRunFile>(path, make_series(spec), spec.attributes, utc_now_iso8601());
  try {
    file->make_file(nullptr);
  } catch (const Error& error) {
    throw UsageError(str(path, " cannot be written: ", error.what()));
  }
  file->start();
  return file;
}

std::unique_ptr<RunFile> continue_run_file(const std::string& path, const RunFileSpec& spec,
                                           int64_t first_step_to_drop) {
  const auto alone = h5::library_lock();
  const std::string created_utc = h5::text_attribute(open_run_file(path), "created_utc");
  auto file = std::make_unique<LiveRunFile>(path, make_series(spec), spec.attributes, created_utc);
  RowsToCopy old;
  old.first_step_to_drop = first_step_to_drop;
  file->make_file(&old);
  file->start();
  return file;
}

}  // namespace braid
