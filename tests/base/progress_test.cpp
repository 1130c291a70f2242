// SPDX-License-Identifier: Apache-2.0
#include "base/progress.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

namespace braid {
namespace {

class ProgressOutput : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"OMPI_COMM_WORLD_SIZE", "BRAID_COLUMNS", "NO_COLOR"}) unsetenv(name);
    setenv("TERM", "xterm", 1);
  }
};

// What `draw` prints when stdout is a terminal of this width.
template <class Draw>
std::string on_terminal(unsigned short columns, Draw draw) {
  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  EXPECT_EQ(grantpt(master), 0);
  EXPECT_EQ(unlockpt(master), 0);
  const winsize size = {24, columns, 0, 0};
  ioctl(master, TIOCSWINSZ, &size);
  const int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
  fflush(stdout);
  const int before = dup(STDOUT_FILENO);
  dup2(slave, STDOUT_FILENO);
  draw();
  fflush(stdout);
  dup2(before, STDOUT_FILENO);
  fcntl(master, F_SETFL, O_NONBLOCK);
  std::string text;
  char part[4096];
  for (ssize_t count; (count = read(master, part, sizeof part)) > 0;) text.append(part, static_cast<size_t>(count));
  for (const int descriptor : {before, slave, master}) close(descriptor);
  return text;
}

template <class Draw>
std::string on_file(Draw draw) {
  testing::internal::CaptureStdout();
  draw();
  return testing::internal::GetCapturedStdout();
}

TEST_F(ProgressOutput, IsPlainLinesWithoutATerminal) {
  const std::string text = on_file([] {
    Progress progress("run", 12, 5);
    for (int64_t step = 1; step <= 12; ++step) progress.update(step, "loss 1.0");
  });
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4);  // the first, 5, 10 and the last
  for (const char* line : {"run 1/12  loss 1.0\n", "run 5/12  loss 1.0", "run 10/12", "run 12/12"}) {
    EXPECT_NE(text.find(line), std::string::npos) << text;
  }
  EXPECT_EQ(text.find('\033'), std::string::npos);
}

TEST_F(ProgressOutput, ARunThatGoesOnPrintsItsFirstStep) {
  const std::string text = on_file([] { Progress("run", 1000, 100).update(501, "d"); });
  EXPECT_EQ(text, "run 501/1000  d\n");
}

TEST_F(ProgressOutput, RedrawsOneLineOnATerminal) {
  const std::string text = on_terminal(100, [] {
    Progress progress("run", 4, 1);
    progress.update(1, "d");
    std::this_thread::sleep_for(std::chrono::milliseconds(120));
    progress.update(2, "d");
    progress.finish();
  });
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
  EXPECT_NE(text.find("\r\033[Krun [#####...............]  25% 1/4  d"), std::string::npos) << text;
  EXPECT_NE(text.find("\r\033[Krun [##########..........]  50% 2/4  d"), std::string::npos) << text;
  EXPECT_NE(text.find("steps/s  left 0:00"), std::string::npos) << text;  // 2 steps at about 8 a second
}

TEST_F(ProgressOutput, FitsTheTerminalsWidth) {
  const std::string text = on_terminal(40, [] { Progress("run", 4, 1).update(1, std::string(100, 'd')); });
  const std::string shown = text.substr(0, text.find('\n'));
  EXPECT_EQ(shown.size(), std::string("\r\033[K").size() + 39 + 1) << text;  // 39 characters, the terminal's own \r
}

TEST_F(ProgressOutput, ADumbTerminalGetsPlainLines) {
  setenv("TERM", "dumb", 1);
  EXPECT_EQ(on_terminal(80, [] { Progress("run", 4, 1).update(1, "d"); }), "run 1/4  d\r\n");
}

TEST_F(ProgressOutput, TakesACountBeyondTheTotal) {
  const std::string text = on_terminal(80, [] { Progress("run", 3, 1).update(5, "d"); });
  EXPECT_NE(text.find("[####################] 100% 5/3"), std::string::npos) << text;
}

}  // namespace
}  // namespace braid
