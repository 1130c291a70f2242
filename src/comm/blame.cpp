// SPDX-License-Identifier: Apache-2.0
#include "comm/blame.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <tuple>

#include "base/error.h"

namespace braid {

namespace {

using Reports = std::vector<RankReport>;
using Blamed = std::vector<const RankReport*>;

constexpr size_t most_named = 4;

std::string seconds_text(double seconds) {
  return seconds < 10 ? str(std::round(seconds * 10) / 10, " s") : str(std::llround(seconds), " s");
}

std::string name_of(const RankReport& report) {
  return str("rank ", report.rank, " on ", report.host,
             report.process > 0 ? str(" (process ", report.process, ")") : "");
}

std::string names_of(const Blamed& blamed) {
  std::string text;
  for (size_t i = 0; i < std::min(blamed.size(), most_named); ++i) text += (i > 0 ? ", " : "") + name_of(*blamed[i]);
  return blamed.size() > most_named ? str(text, " and ", blamed.size() - most_named, " more") : text;
}

// "has" or "have", and what.
std::string clause(const Blamed& blamed, const std::string& what) {
  return names_of(blamed) + (blamed.size() == 1 ? " has " : " have ") + what;
}

Blamed with_contact(const Reports& reports, Contact contact) {
  Blamed found;
  for (const RankReport& report : reports) {
    if (report.contact == contact) found.push_back(&report);
  }
  return found;
}

const CommunicatorRecord* find_communicator(const RankReport& report, const std::string& name) {
  const auto& all = report.ring.communicators;
  const auto found = std::find_if(all.begin(), all.end(), [&](const auto& c) { return c.name == name; });
  return found == all.end() ? nullptr : &*found;
}

bool is_patient(const RankReport& report, const std::string& communicator) {
  const CommunicatorRecord* found = find_communicator(report, communicator);
  return found && found->patient;
}

// Of each communicator the call that this rank has waited for longest.
std::map<std::string, CollectiveRecord> waited_by(const RankReport& report) {
  std::map<std::string, CollectiveRecord> first;
  for (const CollectiveRecord& entry : report.ring.entries) {
    if (entry.state == CallState::waiting && !is_patient(report, entry.communicator))
      first.emplace(entry.communicator, entry);
  }
  return first;
}

// The call that most ranks wait in; of several the one waited for longest.
std::optional<CollectiveRecord> most_waited(const Reports& reports) {
  struct Count {
    int ranks = 0;
    CollectiveRecord record;
  };
  std::map<std::tuple<bool, std::string, int64_t>, Count> counts;  // messages after collectives
  for (const RankReport& report : reports) {
    for (const auto& [name, entry] : waited_by(report)) {
      Count& count = counts[{entry.message, name, entry.sequence}];
      if (count.ranks++ == 0 || entry.start < count.record.start) count.record = entry;
    }
  }
  if (counts.empty()) return std::nullopt;
  const auto order = [](const auto& item) {
    return std::tuple(std::get<0>(item.first), -item.second.ranks, item.second.record.start);
  };
  return std::min_element(counts.begin(), counts.end(),
                          [&](const auto& a, const auto& b) { return order(a) < order(b); })
      ->second.record;
}

using Shape = std::tuple<std::string, size_t, Dtype, int>;
Shape shape_of(const CollectiveRecord& r) {
  const bool own_count = r.operation == "all_to_all_parts";  // each rank has as many as it has
  return {r.operation, own_count ? 0 : r.count, r.dtype, r.peer};
}

struct Call {
  const RankReport* rank;
  const CollectiveRecord* record;
};

// The shape that most ranks share; of equally many that of the lowest rank.
const Call& common(const std::vector<Call>& calls) {
  const auto same = [&](const Call& call) {
    return std::count_if(calls.begin(), calls.end(),
                         [&](const Call& c) { return shape_of(*c.record) == shape_of(*call.record); });
  };
  return *std::max_element(calls.begin(), calls.end(), [&](const Call& a, const Call& b) { return same(a) < same(b); });
}

// The first call, in the order of its sequence, in which ranks of one communicator differ.
std::optional<Blame> out_of_step(const Reports& reports) {
  std::map<std::pair<std::string, int64_t>, std::vector<Call>> by_sequence;
  for (const RankReport& report : reports) {
    for (const CollectiveRecord& entry : report.ring.entries) {
      if (!entry.message) by_sequence[{entry.communicator, entry.sequence}].push_back({&report, &entry});
    }
  }
  for (const auto& [key, calls] : by_sequence) {
    const Call& right = common(calls);
    Blamed blamed;
    const CollectiveRecord* other = nullptr;
    for (const Call& call : calls) {
      if (shape_of(*call.record) == shape_of(*right.record)) continue;
      blamed.push_back(call.rank);
      if (!other) other = call.record;
    }
    if (blamed.empty()) continue;
    Blame blame;
    for (const RankReport* report : blamed) blame.ranks.push_back(report->rank);
    blame.text = str(names_of(blamed), blamed.size() == 1 ? " is" : " are", " out of step: called ",
                     describe_call(*other), " where rank ", right.rank->rank, " called ", describe(*right.record));
    return blame;
  }
  return std::nullopt;
}

// Ranks of the waited communicator that have not come to the call, as far as they answer.
Blamed behind(const Reports& reports, const CollectiveRecord& waited) {
  Blamed found;
  for (const RankReport& report : reports) {
    const CommunicatorRecord* communicator = find_communicator(report, waited.communicator);
    if (communicator && communicator->sequence < waited.sequence) found.push_back(&report);
  }
  return found;
}

// What a rank does instead.
std::string instead(const RankReport& report) {
  const auto waits = waited_by(report);
  if (!waits.empty()) return str("it waits in ", describe(waits.begin()->second));
  if (report.ring.entries.empty()) return "it has called nothing yet";
  return str("its last call was ", describe(report.ring.entries.back()));
}

// Where some members of the communicator cannot be asked, they are what is missing.
Blamed absent(const Reports& reports, const CollectiveRecord& waited) {
  int members = 0, size = 0;
  for (const RankReport& report : reports) {
    if (const CommunicatorRecord* communicator = find_communicator(report, waited.communicator)) {
      ++members;
      size = communicator->size;
    }
  }
  Blamed found;
  for (const RankReport& report : reports) {
    if (members < size && (report.contact == Contact::left || report.contact == Contact::unwatched))
      found.push_back(&report);
  }
  return found;
}

std::string join(const std::string& a, const std::string& b) { return a.empty() || b.empty() ? a + b : a + "; " + b; }

Blame blame_of(const Blamed& blamed, const std::string& text) {
  Blame blame{{}, text};
  for (const RankReport* report : blamed) blame.ranks.push_back(report->rank);
  return blame;
}

std::optional<Blame> out_of_contact(const Reports& reports) {
  const Blamed closed = with_contact(reports, Contact::closed), silent = with_contact(reports, Contact::silent);
  if (closed.empty() && silent.empty()) return std::nullopt;
  double longest = 0;
  for (const RankReport* report : silent) longest = std::max(longest, report->silent_seconds);
  Blamed all = closed;
  all.insert(all.end(), silent.begin(), silent.end());
  return blame_of(all, join(closed.empty() ? "" : names_of(closed) + " ended without saying goodbye",
                            silent.empty() ? "" : clause(silent, "been silent for " + seconds_text(longest))));
}

Blame not_entered(const Reports& reports, const CollectiveRecord& waited) {
  if (waited.message) return {{}, "the other rank of a message has not come"};
  if (const Blamed late = behind(reports, waited); !late.empty()) {
    return blame_of(late, clause(late, str("not entered (", instead(*late.front()), ")")));
  }
  if (const Blamed gone = absent(reports, waited); !gone.empty()) {
    const bool left = gone.front()->contact == Contact::left;
    return blame_of(gone,
                    clause(gone, left ? "ended its work and will not enter" : "no heartbeat and cannot be asked"));
  }
  return {{}, "every rank has entered and none gets out: the network or a device hangs"};
}

}  // namespace

const char* name_of(Contact contact) {
  switch (contact) {
    case Contact::answers:
      return "answers";
    case Contact::silent:
      return "silent";
    case Contact::closed:
      return "closed";
    case Contact::left:
      return "left";
    case Contact::unwatched:
      return "unwatched";
  }
  return "?";
}

Blame find_blame(const Reports& reports, double waited_seconds) {
  const std::optional<CollectiveRecord> waited = most_waited(reports);
  std::optional<Blame> blame = out_of_contact(reports);
  if (std::optional<Blame> step = out_of_step(reports)) {  // a rank that is lost besides may have died of it
    if (blame) step->text = join(step->text, blame->text);
    return *step;
  }
  if (!blame) {
    if (!waited) return {};
    blame = not_entered(reports, *waited);
  }
  if (waited) {
    const std::string since = waited_seconds > 0 ? str(" for ", seconds_text(waited_seconds)) : "";
    blame->text = join(blame->text, str("waiting", since, " in ", describe(*waited)));
  }
  return *blame;
}

}  // namespace braid
