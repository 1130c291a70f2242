// SPDX-License-Identifier: Apache-2.0
// Limits as users and SLURM write them, and how long before the end a run stops.
#include "train/time_limit.h"

#include <gtest/gtest.h>

#include <ctime>
#include <map>

#include "base/error.h"

namespace braid {
namespace {

TEST(ParseTimeLimit, TakesSecondsMinutesAndHours) {
  EXPECT_EQ(parse_time_limit("90"), 90);
  EXPECT_EQ(parse_time_limit("0.5"), 0.5);
  EXPECT_EQ(parse_time_limit("15:00"), 900);
  EXPECT_EQ(parse_time_limit("0:07"), 7);
  EXPECT_EQ(parse_time_limit("1:30:00"), 5400);
  EXPECT_EQ(parse_time_limit("48:00:01"), 172801);
}

TEST(ParseTimeLimit, RefusesEverythingElseWithItsText) {
  for (const char* text :
       {"", "0", "00:00", "-5", "1h", "1:", ":5", "1::2", "1:2:3:4", "ten", "nan", "inf", "1e12", "5 "}) {
    try {
      parse_time_limit(text);
      FAIL() << text;
    } catch (const UsageError& error) {
      EXPECT_EQ(std::string(error.what()),
                str("--time-limit ", text, ": expected seconds, MM:SS or HH:MM:SS, more than 0"));
    }
  }
}

class SlurmEndTime : public testing::Test {
 protected:
  std::optional<double> find(const std::string& answer = "") {
    asked_.clear();
    return slurm_end_time(
        [&](const char* name) -> const char* {
          const auto found = environment_.find(name);
          return found == environment_.end() ? nullptr : found->second.c_str();
        },
        [&](const std::string& job) {
          asked_ = job;
          return answer;
        });
  }
  std::map<std::string, std::string> environment_;
  std::string asked_;
};

TEST_F(SlurmEndTime, IsNothingOutsideOfAJob) {
  EXPECT_EQ(find(), std::nullopt);
  EXPECT_EQ(asked_, "");
}

TEST_F(SlurmEndTime, IsTheVariableWhereSlurmSetsIt) {
  environment_ = {{"SLURM_JOB_END_TIME", "1767323045"}, {"SLURM_JOB_ID", "17"}};
  EXPECT_EQ(find(), 1767323045.0);
  EXPECT_EQ(asked_, "");
}

TEST_F(SlurmEndTime, AsksForTheElementOfAnArray) {
  environment_ = {{"SLURM_JOB_ID", "17"}, {"SLURM_ARRAY_JOB_ID", "17"}, {"SLURM_ARRAY_TASK_ID", "3"}};
  EXPECT_EQ(find(), std::nullopt);
  EXPECT_EQ(asked_, "17_3");
}

TEST_F(SlurmEndTime, IsElseWhatScontrolSays) {
  environment_ = {{"SLURM_JOB_ID", "17"}};
  std::tm local = {};
  local.tm_year = 126, local.tm_mday = 2, local.tm_hour = 3, local.tm_min = 4, local.tm_sec = 5, local.tm_isdst = -1;
  EXPECT_EQ(find("JobId=17 JobName=x StartTime=2026-01-02T02:00:00 EndTime=2026-01-02T03:04:05 Deadline=N/A"),
            static_cast<double>(std::mktime(&local)));
  EXPECT_EQ(asked_, "17");
}

TEST_F(SlurmEndTime, IsNothingWithoutALimitOrAnAnswer) {
  environment_ = {{"SLURM_JOB_ID", "17"}};
  for (const char* answer :
       {"", "JobId=17 EndTime=Unknown Deadline=N/A", "slurm_load_jobs error: Invalid job id", "EndTime="}) {
    EXPECT_EQ(find(answer), std::nullopt) << answer;
  }
}

TEST(TimeLimit, WithoutOneIsNeverReached) {
  EXPECT_FALSE(TimeLimit().given());
  EXPECT_FALSE(TimeLimit().reached(1e18, 1e9, 1e9));
}

TEST(TimeLimit, KeepsTwoStepsTwoSavesAndAReserveInHand) {
  const TimeLimit hour(10'000, 10'000 - 3600);  // reserve: 30 s, less than a twentieth
  EXPECT_FALSE(hour.reached(10'000 - 30 - 2 * 5 - 2 * 20 - 0.01, 5, 20));
  EXPECT_TRUE(hour.reached(10'000 - 30 - 2 * 5 - 2 * 20, 5, 20));
  const TimeLimit five_minutes(10'000, 9'700);  // reserve: 15 s, a twentieth
  EXPECT_FALSE(five_minutes.reached(9'984.9, 0, 0));
  EXPECT_TRUE(five_minutes.reached(9'985, 0, 0));
  const TimeLimit minute(10'000, 9'940);  // reserve: 10 s, since a job of many ranks takes a while to end
  EXPECT_FALSE(minute.reached(9'989.9, 0, 0));
  EXPECT_TRUE(minute.reached(9'990, 0, 0));
  const TimeLimit few_seconds(10'000, 9'995);  // reserve: 1 s, a fifth
  EXPECT_FALSE(few_seconds.reached(9'998.9, 0, 0));
  EXPECT_TRUE(few_seconds.reached(9'999, 0, 0));
  EXPECT_TRUE(minute.reached(20'000, 0, 0));
}

// Outside of a SLURM job, where these tests run, the user's limit is the only one.
TEST(TimeLimit, IsCountedFromTheStart) {
  if (slurm_end_time()) GTEST_SKIP() << "runs in a SLURM job";
  EXPECT_FALSE(time_limit_from(0, 1000).given());
  EXPECT_FALSE(time_limit_from(1000, 1000).reached(1969.9, 0, 0));
  EXPECT_TRUE(time_limit_from(1000, 1000).reached(1970, 0, 0));
}

}  // namespace
}  // namespace braid
