// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <barrier>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>
#include <thread>

#include "base/clock.h"

namespace braid {
namespace {

class LogFile : public testing::Test {
 protected:
  void SetUp() override {
    path_ = testing::TempDir() + "braid-log-" + std::to_string(getpid()) + ".jsonl";
    std::filesystem::remove(path_);
  }
  void TearDown() override { std::filesystem::remove(path_); }
  std::vector<nlohmann::json> lines() const {
    std::vector<nlohmann::json> all;
    std::ifstream file(path_);
    for (std::string line; std::getline(file, line);) all.push_back(nlohmann::json::parse(line));
    return all;
  }
  std::string path_;
};

TEST_F(LogFile, HoldsLinesFromBeforeItWasOpenedAndEscapesThem) {
  Logger logger;
  logger.set_quiet(true);
  logger.info("early \"quoted\"\nsecond line \xff");
  logger.open_file(path_);
  logger.event("saved", {{"step", "3"}});
  const auto all = lines();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0]["message"].get<std::string>().substr(0, 14), "early \"quoted\"");
  EXPECT_EQ(all[0]["level"], "info");
  EXPECT_EQ(all[0]["rank"], 0);
  const std::string time = all[0]["time"];
  EXPECT_TRUE(std::regex_match(time, std::regex(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)")));
  EXPECT_EQ(all[1]["event"], "saved");
  EXPECT_EQ(all[1]["step"], "3");
}

constexpr int lines_each = 3000;

// Two threads log at the same time, each `lines_each` lines of its own letter.
void log_from_two_threads(Logger& logger) {
  std::barrier start(2);
  const auto talk = [&](char who) {
    start.arrive_and_wait();
    for (int i = 0; i < lines_each; ++i) logger.info(std::to_string(i) + std::string(200, who));
  };
  std::thread other(talk, 'a');
  talk('b');
  other.join();
}

TEST_F(LogFile, LinesOfTwoThreadsDoNotMix) {
  Logger logger;
  logger.set_quiet(true);
  logger.open_file(path_);
  log_from_two_threads(logger);
  std::set<std::string> messages;  // each line parses by itself and none is lost
  for (const auto& line : lines()) messages.insert(line["message"]);
  EXPECT_EQ(messages.size(), 2u * lines_each);
}

TEST(LogTerminal, LinesOfTwoThreadsDoNotMix) {
  testing::internal::CaptureStdout();
  {
    Logger logger;
    log_from_two_threads(logger);
  }
  std::istringstream out(testing::internal::GetCapturedStdout());
  std::set<std::string> whole;
  for (std::string line; std::getline(out, line); whole.insert(line)) {
    ASSERT_TRUE(std::regex_match(line, std::regex("[0-9]{1,4}(a{200}|b{200})"))) << line;
  }
  EXPECT_EQ(whole.size(), 2u * lines_each);
}

TEST(LogTerminal, OnlyRankZeroSpeaksAndTroubleNamesRankAndHost) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Logger first(0, 4), third(3, 4);
  first.info("hello");
  third.info("not me");
  first.warning("disk");
  third.error("broken");
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "hello\n");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "warning: disk\nerror: rank 3 on " + host_name() + ": broken\n");
}

TEST_F(LogFile, OtherRanksWriteNoFile) {
  Logger logger(1, 2);
  logger.open_file(path_);
  logger.info("not me");
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(LogFile, AFileThatCannotBeWrittenDoesNotEndTheRun) {
  Logger logger;
  logger.set_quiet(true);
  logger.info("first");
  for (const char* path : {"/dev/full", "/no/such/folder/log.jsonl"}) {
    EXPECT_NO_THROW(logger.open_file(path));
    for (int i = 0; i < 10; ++i) EXPECT_NO_THROW(logger.info("still here"));
  }
}

TEST_F(LogFile, KeepsEarlyLinesWhenTheFirstFileCannotBeOpened) {
  Logger logger;
  logger.set_quiet(true);
  logger.info("early");
  logger.open_file("/no/such/folder/log.jsonl");
  logger.open_file(path_);
  ASSERT_EQ(lines().size(), 1u);
  EXPECT_EQ(lines()[0]["message"], "early");
}

// No file may grow beyond some bytes while this lives: a write is cut short there, as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit now = {bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &now);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_ = {};
  void (*handler_)(int);
};

TEST_F(LogFile, LosesNoLineAndTearsNoneWhenSpaceReturns) {
  Logger logger;
  logger.set_quiet(true);
  logger.open_file(path_);
  {
    const FileSizeLimit full(1000);
    for (int i = 0; i < 10; ++i) logger.info(std::to_string(i) + std::string(200, 'x'));
  }
  const size_t fitted = lines().size();  // throws on a torn line
  EXPECT_GT(fitted, 0u);
  EXPECT_LT(fitted, 10u);
  logger.info("10");
  ASSERT_EQ(lines().size(), 11u);
  for (int i = 0; i < 11; ++i) EXPECT_EQ(std::stoi(lines()[i]["message"].get<std::string>()), i);
}

}  // namespace
}  // namespace braid
