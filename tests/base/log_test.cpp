// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

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
  EXPECT_EQ(all[1]["event"], "saved");
  EXPECT_EQ(all[1]["step"], "3");
}

TEST_F(LogFile, LinesOfTwoThreadsDoNotMix) {
  Logger logger;
  logger.set_quiet(true);
  logger.open_file(path_);
  const auto talk = [&](const char* who) {
    for (int i = 0; i < 500; ++i) logger.info(std::string(who) + std::string(200, 'x'));
  };
  std::thread other(talk, "a");
  talk("b");
  other.join();
  EXPECT_EQ(lines().size(), 1000u);  // each parsed as JSON by itself
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
  logger.open_file("/dev/full");
  for (int i = 0; i < 10; ++i) EXPECT_NO_THROW(logger.info("still here"));
}

}  // namespace
}  // namespace braid
