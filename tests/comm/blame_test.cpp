// SPDX-License-Identifier: Apache-2.0
// Who is to blame, from rings made up for each case.
#include "comm/blame.h"

#include <gtest/gtest.h>

namespace braid {
namespace {

using Ranks = std::vector<int>;

testing::AssertionResult says(const Blame& blame, const std::string& part) {
  if (blame.text.find(part) != std::string::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << '"' << part << "\" is not in \"" << blame.text << '"';
}

CollectiveRecord call(int64_t sequence, CallState state, const std::string& operation = "all_reduce",
                      size_t count = 1000) {
  CollectiveRecord record;
  record.communicator = "host";
  record.sequence = sequence;
  record.operation = operation;
  record.count = count;
  record.dtype = Dtype::float32;
  record.start = 100.0 + static_cast<double>(sequence);
  record.state = state;
  return record;
}

// A rank of `ranks` that has done the calls before `sequence`, and then the last one.
RankReport rank_at(int rank, int ranks, const CollectiveRecord& last) {
  RankReport report;
  report.rank = rank;
  report.host = rank < 2 ? "nodeA" : "nodeB";
  report.process = 4700 + rank;
  report.ring.communicators = {{"host", ranks, false, last.sequence}};
  for (int64_t sequence = 1; sequence < last.sequence; ++sequence)
    report.ring.entries.push_back(call(sequence, CallState::done));
  report.ring.entries.push_back(last);
  return report;
}

std::vector<RankReport> all_waiting(int ranks, int64_t sequence) {
  std::vector<RankReport> reports;
  for (int rank = 0; rank < ranks; ++rank) reports.push_back(rank_at(rank, ranks, call(sequence, CallState::waiting)));
  return reports;
}

RankReport without_contact(int rank, Contact contact, double seconds = 0) {
  RankReport report;
  report.rank = rank;
  report.host = "nodeB";
  report.process = 4711;
  report.contact = contact;
  report.silent_seconds = seconds;
  return report;
}

TEST(Blame, ASilentRankIsNamedWithHostProcessAndOperation) {
  auto reports = all_waiting(3, 123);
  reports[2] = without_contact(2, Contact::silent, 30.2);
  const Blame blame = find_blame(reports, 0);
  EXPECT_EQ(blame.ranks, Ranks{2});
  EXPECT_EQ(blame.text,
            "rank 2 on nodeB (process 4711) has been silent for 30 s; waiting in all_reduce of 3.9 KiB float32 on "
            "host, sequence 123");
}

TEST(Blame, ADeadRankIsNamed) {
  auto reports = all_waiting(3, 5);
  reports[2] = without_contact(2, Contact::closed);
  const Blame blame = find_blame(reports, 0);
  EXPECT_EQ(blame.ranks, Ranks{2});
  EXPECT_TRUE(says(blame, "rank 2 on nodeB (process 4711) ended without saying goodbye; waiting in all_reduce"));
}

TEST(Blame, WithoutACollectiveUnderWayTheLostRankIsNamedAlone) {
  std::vector<RankReport> reports = {rank_at(0, 2, call(5, CallState::done)), without_contact(1, Contact::closed)};
  EXPECT_EQ(find_blame(reports, 0).text, "rank 1 on nodeB (process 4711) ended without saying goodbye");
}

TEST(Blame, ARankThatHasNotEnteredIsNamedWithWhatItDidLast) {
  auto reports = all_waiting(4, 17);
  reports[1] = rank_at(1, 4, call(16, CallState::done));
  const Blame blame = find_blame(reports, 300);
  EXPECT_EQ(blame.ranks, Ranks{1});
  EXPECT_TRUE(says(blame, "rank 1 on nodeA (process 4701) has not entered (its last call was all_reduce"));
  EXPECT_TRUE(says(blame, "waiting for 300 s in all_reduce of 3.9 KiB float32 on host, sequence 17"));
}

TEST(Blame, ARankThatWaitsElsewhereIsNamedWithThat) {
  auto reports = all_waiting(3, 17);
  reports[1] = rank_at(1, 3, call(16, CallState::done));
  CollectiveRecord other = call(4, CallState::waiting, "barrier", 0);
  other.communicator = "data";
  reports[1].ring.entries.push_back(other);
  reports[1].ring.communicators.push_back({"data", 3, false, 4});
  for (int rank : {0, 2}) reports[rank].ring.communicators.push_back({"data", 3, false, 3});
  EXPECT_EQ(find_blame(reports, 300).ranks, Ranks{1});
  EXPECT_TRUE(says(find_blame(reports, 300), "(it waits in barrier on data, sequence 4)"));
}

TEST(Blame, SeveralCallsUnderWayDoNotHideTheFirst) {
  auto reports = all_waiting(3, 17);
  for (int rank : {0, 1}) {
    reports[rank].ring.entries.push_back(call(18, CallState::waiting));
    reports[rank].ring.communicators[0].sequence = 18;
  }
  reports[2] = rank_at(2, 3, call(16, CallState::done));
  EXPECT_EQ(find_blame(reports, 300).ranks, Ranks{2});
  EXPECT_TRUE(says(find_blame(reports, 300), "sequence 17"));
}

TEST(Blame, AnotherOperationIsOutOfStep) {
  auto reports = all_waiting(3, 17);
  reports[1] = rank_at(1, 3, call(17, CallState::waiting, "barrier", 0));
  const Blame blame = find_blame(reports, 300);
  EXPECT_EQ(blame.ranks, Ranks{1});
  EXPECT_EQ(blame.text,
            "rank 1 on nodeA (process 4701) is out of step: called barrier where rank 0 called "
            "all_reduce of 3.9 KiB float32 on host, sequence 17");
}

TEST(Blame, AnotherSizeIsOutOfStepEvenWhereTheCallHasEnded) {
  auto reports = all_waiting(3, 17);
  reports[0].ring.entries[9] = call(10, CallState::done, "all_reduce", 999);
  EXPECT_EQ(find_blame(reports, 300).ranks, Ranks{0});
  EXPECT_TRUE(says(find_blame(reports, 300), "sequence 10"));
}

TEST(Blame, ARankThatDiedOfAnotherSizeDoesNotHideWhoCalledIt) {
  auto reports = all_waiting(4, 17);
  reports[1] = rank_at(1, 4, call(17, CallState::waiting, "all_reduce", 7000));
  reports[3] = without_contact(3, Contact::closed);
  const Blame blame = find_blame(reports, 0);
  EXPECT_EQ(blame.ranks, Ranks{1});
  EXPECT_TRUE(says(blame, "out of step"));
  EXPECT_TRUE(says(blame, "rank 3 on nodeB (process 4711) ended without saying goodbye"));
}

TEST(Blame, MessagesBetweenTwoRanksAreNotOutOfStep) {
  auto reports = all_waiting(2, 17);
  CollectiveRecord message = call(17, CallState::done, "send");
  message.message = true;
  reports[0].ring.entries.push_back(message);
  EXPECT_FALSE(says(find_blame(reports, 300), "out of step"));
}

TEST(Blame, PartsOfDifferentSizesAreNotOutOfStep) {
  std::vector<RankReport> reports;
  for (int rank = 0; rank < 3; ++rank) {
    reports.push_back(rank_at(rank, 3, call(17, CallState::waiting, "all_to_all_parts", 100 + size_t(rank))));
  }
  EXPECT_FALSE(says(find_blame(reports, 300), "out of step"));
}

TEST(Blame, WhereAllHaveEnteredNobodyIsBlamed) {
  const Blame blame = find_blame(all_waiting(3, 17), 300);
  EXPECT_TRUE(blame.ranks.empty());
  EXPECT_TRUE(says(blame, "every rank has entered and none gets out"));
}

TEST(Blame, PatientCallsAreNotWhatTheJobWaitsFor) {
  auto reports = all_waiting(2, 17);
  for (RankReport& report : reports) report.ring.communicators[0].patient = true;
  EXPECT_EQ(find_blame(reports, 0).text, "");
}

TEST(Blame, ARankThatEndedInOrderIsMissedByThoseWhoStillWait) {
  auto reports = all_waiting(3, 17);
  reports[2] = without_contact(2, Contact::left);
  EXPECT_EQ(find_blame(reports, 300).ranks, Ranks{2});
  EXPECT_TRUE(says(find_blame(reports, 300), "has ended its work and will not enter"));
}

TEST(Blame, ManyLostRanksAreCountedNotListed) {
  auto reports = all_waiting(10, 17);
  for (int rank = 2; rank < 10; ++rank) reports[rank] = without_contact(rank, Contact::silent, 31);
  EXPECT_EQ(find_blame(reports, 0).ranks.size(), 8u);
  EXPECT_TRUE(says(find_blame(reports, 0), "rank 5 on nodeB (process 4711) and 4 more have been silent for 31 s"));
}

}  // namespace
}  // namespace braid
