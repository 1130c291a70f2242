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

std::string bar(int64_t done, int64_t total, int width) {
  const int filled = total > 0 ? static_cast<int>(width * done / total) : width;
  return "[" + std::string(filled, '#') + std::string(width - filled, '.') + "]";
}

}  // namespace

Progress::Progress(std::string label, int64_t total, int64_t plain_every)
    : state_(new State{std::move(label), total, std::max<int64_t>(plain_every, 1), draws_bars(), {}}) {}

Progress::~Progress() { finish(); }

void Progress::update(int64_t done, const std::string& detail) {
  State& s = *state_;
  const double now = s.watch.seconds();
  if (s.first < 0) {
    s.first = done;
    s.first_seconds = now;
  }
  const bool last = done >= s.total;
  if (s.terminal ? now - s.drawn_seconds < 0.1 && !last : done % s.plain_every != 0 && done != 1 && !last) return;
  s.drawn_seconds = now;
  const double rate = now > s.first_seconds ? double(done - s.first) / (now - s.first_seconds) : 0;
  char pace[64];
  std::snprintf(pace, sizeof pace, "%.2f steps/s", rate);
  std::string line = s.label + " " + (s.terminal ? bar(done, s.total, 20) + " " : "") + std::to_string(done) + "/" +
                     std::to_string(s.total) + "  " + detail;
  if (rate > 0) line += std::string("  ") + pace + "  left " + duration(double(s.total - done) / rate);
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
