// SPDX-License-Identifier: Apache-2.0
#include "base/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/clock.h"

namespace braid {

struct Progress::State {
  std::string label;
  int64_t total, plain_every;
  bool terminal;
  Stopwatch watch;
  int64_t first = -1;       // the count at the first update: what came before it was not timed
  double first_seconds = 0, drawn_seconds = -1;
  bool open_line = false;
};

namespace {

// mpirun gives its ranks a pseudo-terminal of their own whatever it writes to itself; whoever starts it says in
// BRAID_COLUMNS how wide the real terminal is.
int told_columns() {
  const char* columns = std::getenv("BRAID_COLUMNS");
  return columns ? std::atoi(columns) : 0;
}

bool draws_bars() {
  const char* term = std::getenv("TERM");
  if (!isatty(STDOUT_FILENO) || !term || std::strcmp(term, "dumb") == 0) return false;
  return !std::getenv("OMPI_COMM_WORLD_SIZE") || told_columns() > 20;
}

int terminal_width() {
  if (told_columns() > 20) return told_columns();
  winsize size = {};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

std::string duration(double seconds) {
  char text[32];
  const int64_t whole = std::llround(seconds);
  if (whole >= 3600) {
    std::snprintf(text, sizeof text, "%lldh%02lldm", static_cast<long long>(whole / 3600), static_cast<long long>(whole / 60 % 60));
  } else {
    std::snprintf(text, sizeof text, "%lld:%02lld", static_cast<long long>(whole / 60), static_cast<long long>(whole % 60));
  }
  return text;
}

// "[#####...............]  25% "; a count beyond the total is a full bar.
std::string bar(int64_t done, int64_t total, int width) {
  const double share = total > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0) : 1.0;
  const int filled = static_cast<int>(share * width);
  char percent[16];
  std::snprintf(percent, sizeof percent, "] %3d%% ", static_cast<int>(share * 100));
  return "[" + std::string(filled, '#') + std::string(width - filled, '.') + percent;
}

std::string pace(double steps, double seconds, int64_t to_go) {
  if (steps <= 0 || seconds <= 0) return "";
  char rate[64];
  std::snprintf(rate, sizeof rate, "  %.2f steps/s", steps / seconds);
  return rate + ("  left " + duration(static_cast<double>(std::max<int64_t>(to_go, 0)) * seconds / steps));
}

}  // namespace

Progress::Progress(std::string label, int64_t total, int64_t plain_every)
    : state_(new State{std::move(label), total, std::max<int64_t>(plain_every, 1), draws_bars(), {}}) {}

Progress::~Progress() { finish(); }

void Progress::update(int64_t done, const std::string& detail) {
  State& s = *state_;
  const double now = s.watch.seconds();
  const bool first = s.first < 0, last = done >= s.total;
  if (first) {
    s.first = done;
    s.first_seconds = now;
  }
  const bool due = s.terminal ? now - s.drawn_seconds >= 0.1 : done % s.plain_every == 0;
  if (!due && !first && !last) return;
  s.drawn_seconds = now;
  const std::string line = s.label + " " + (s.terminal ? bar(done, s.total, 20) : "") + std::to_string(done) + "/" +
                           std::to_string(s.total) + "  " + detail +
                           pace(static_cast<double>(done - s.first), now - s.first_seconds, s.total - done);
  if (s.terminal) {
    std::printf("\r\033[K%s", line.substr(0, terminal_width() - 1).c_str());
    s.open_line = true;
  } else {
    std::printf("%s\n", line.c_str());
  }
  std::fflush(stdout);
}

void Progress::finish() {
  if (state_->open_line) std::printf("\n");
  state_->open_line = false;
  std::fflush(stdout);
}

}  // namespace braid
