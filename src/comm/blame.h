// SPDX-License-Identifier: Apache-2.0
// Which rank a job waits for: worked out from what each rank has recorded and from who still answers.
#pragma once

#include <string>
#include <vector>

#include "comm/recorder.h"

namespace braid {

enum class Contact {
  answers,
  silent,     // nothing heard for longer than the time-out, or no answer when asked for its ring
  closed,     // its connection ended without a goodbye
  left,       // it said goodbye
  unwatched,  // there was never a connection to it
};
const char* name_of(Contact contact);

struct RankReport {
  int rank = 0;
  std::string host;
  int64_t process = 0;  // 0: not known
  Contact contact = Contact::answers;
  double silent_seconds = 0;
  std::string last_beat;  // the last thing heard from it, JSON
  RingSnapshot ring;      // empty unless it answers
};

struct Blame {
  std::vector<int> ranks;  // to blame; empty when none stands out
  std::string text;        // names them, their hosts and the operation, on one line
};

// `waited_seconds`: how long the oldest call has waited, 0 when that is not what the alarm was about.
Blame find_blame(const std::vector<RankReport>& reports, double waited_seconds);

// All of it as one JSON document, for the file that a failed job leaves.
std::string report_document(const std::vector<RankReport>& reports, const std::string& verdict);

// A ring as it travels between ranks. Error when `text` is not one.
std::string ring_text(const RingSnapshot& ring);
RingSnapshot ring_from_text(const std::string& text);
std::string beat_text(const CollectiveRecord& last);

}  // namespace braid
