// SPDX-License-Identifier: Apache-2.0
// spdlog stays in this file: its own fmt and the one in LibTorch's include path exclude each other.
#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>

#include "base/clock.h"

namespace braid {

struct Logger::State {
  int rank, world_size;
  std::shared_ptr<spdlog::logger> out, err;
  std::mutex mutex;  // over file and early lines
  std::ofstream file;
  std::vector<std::string> early;  // what was said before a run folder was known
  bool quiet = false;
};

namespace {

std::shared_ptr<spdlog::logger> plain(std::shared_ptr<spdlog::sinks::sink> sink) {
  auto logger = std::make_shared<spdlog::logger>("braid", std::move(sink));
  logger->set_pattern("%v");
  logger->flush_on(spdlog::level::trace);
  return logger;
}

constexpr size_t early_limit = 10000;

}  // namespace

Logger::Logger(int rank, int world_size) : state_(new State) {
  state_->rank = rank;
  state_->world_size = world_size;
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

// A log file that cannot be written (full disk) must not end a run: the stream's state is cleared and the line is lost.
void Logger::write(const std::string& level, const std::string& message, const LogFields& fields) {
  State& s = *state_;
  if (s.rank != 0) return;
  const std::string line = json_line(s.rank, level, message, fields);
  const std::lock_guard lock(s.mutex);
  if (!s.file.is_open()) {
    if (s.early.size() < early_limit) s.early.push_back(line);
    return;
  }
  s.file.clear();
  s.file << line << "\n" << std::flush;
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
  const std::lock_guard lock(state_->mutex);
  if (state_->rank != 0) return;
  state_->file.close();
  state_->file.clear();
  state_->file.open(path, std::ios::app);
  for (const std::string& line : state_->early) state_->file << line << "\n";
  state_->file << std::flush;
  state_->early.clear();
}

void Logger::set_quiet(bool quiet) { state_->quiet = quiet; }
int Logger::rank() const { return state_->rank; }

}  // namespace braid
