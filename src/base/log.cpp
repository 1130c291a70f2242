// SPDX-License-Identifier: Apache-2.0
// spdlog stays in this file: its own fmt and the one in LibTorch's include path exclude each other.
#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <deque>
#include <mutex>
#include <nlohmann/json.hpp>

#include "base/append_file.h"
#include "base/clock.h"

namespace braid {

struct Logger::State {
  int rank;
  std::shared_ptr<spdlog::logger> out, err;
  std::mutex mutex;  // over file and pending
  AppendFile file;
  std::deque<std::string> pending;  // said before a run folder was known, or while the disk was full
  std::atomic<bool> quiet = false;

  // Under the mutex.
  void write_pending() {
    while (file.is_open() && !pending.empty() && file.append(pending.front())) pending.pop_front();
  }
};

namespace {

std::shared_ptr<spdlog::logger> plain(std::shared_ptr<spdlog::sinks::sink> sink) {
  auto logger = std::make_shared<spdlog::logger>("braid", std::move(sink));
  logger->set_pattern("%v");
  logger->flush_on(spdlog::level::trace);
  return logger;
}

constexpr size_t pending_limit = 10000;  // lines; later ones are lost, memory is not

}  // namespace

Logger::Logger(int rank, int /*world_size*/) : state_(new State) {
  state_->rank = rank;
  state_->out = plain(std::make_shared<spdlog::sinks::stdout_sink_mt>());
  state_->err = plain(std::make_shared<spdlog::sinks::stderr_sink_mt>());
}

Logger::~Logger() = default;

namespace {

std::string json_line(int rank, const std::string& level, const std::string& message, const LogFields& fields) {
  nlohmann::ordered_json line = {{"time", utc_now_iso8601()}, {"level", level}, {"rank", rank}};
  line[level == "event" ? "event" : "message"] = message;
  for (const auto& [name, value] : fields) line[name] = value;
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

// A log file that cannot be written (full disk) must not end a run: its lines wait for the next call.
void Logger::write(const std::string& level, const std::string& message, const LogFields& fields) {
  State& s = *state_;
  if (s.rank != 0) return;
  const std::lock_guard lock(s.mutex);
  if (s.pending.size() < pending_limit) s.pending.push_back(json_line(s.rank, level, message, fields));
  s.write_pending();
}

void Logger::info(const std::string& message) {
  if (state_->rank == 0 && !state_->quiet) state_->out->info(message);
  write("info", message, {});
}

std::string Logger::from_here(const std::string& message) const {
  if (state_->rank == 0) return message;
  return "rank " + std::to_string(state_->rank) + " on " + host_name() + ": " + message;
}

void Logger::warning(const std::string& message) {
  state_->err->warn("warning: " + from_here(message));
  write("warning", message, {});
}

void Logger::error(const std::string& message) {
  state_->err->error("error: " + from_here(message));
  write("error", message, {});
}

void Logger::event(const std::string& name, const LogFields& fields) { write("event", name, fields); }

void Logger::open_file(const std::string& path) {
  State& s = *state_;
  if (s.rank != 0) return;
  const std::lock_guard lock(s.mutex);
  if (s.file.is_open()) s.pending.clear();  // they belong to the folder of the run before
  s.file.open(path);
  s.write_pending();
}

void Logger::set_quiet(bool quiet) { state_->quiet = quiet; }
int Logger::rank() const { return state_->rank; }

}  // namespace braid
