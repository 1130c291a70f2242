// SPDX-License-Identifier: Apache-2.0
// What ranks record, as JSON: between ranks and in the file that a failed job leaves.
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/error.h"
#include "comm/blame.h"

namespace braid {

namespace {

using Json = nlohmann::ordered_json;

constexpr Dtype all_dtypes[] = {Dtype::float32, Dtype::float64, Dtype::bfloat16, Dtype::int64, Dtype::uint8};
constexpr CallState all_states[] = {CallState::waiting, CallState::done, CallState::failed};

template <class Values>
auto value_of(const std::string& name, const Values& values) {
  for (const auto value : values) {
    if (name_of(value) == name) return value;
  }
  throw Error(str("a ring of collectives: unknown word ", name));
}

Json to_json(const CollectiveRecord& r) {
  Json json = {{"communicator", r.communicator}, {"sequence", r.sequence}, {"operation", r.operation}};
  if (r.count > 0) json.update({{"count", r.count}, {"dtype", name_of(r.dtype)}, {"bytes", r.bytes()}});
  if (r.peer >= 0) json["peer"] = r.peer;
  if (r.message) json["message"] = true;
  json["start"] = r.start;
  if (r.state != CallState::waiting) json["end"] = r.end;
  json["state"] = name_of(r.state);
  return json;
}

CollectiveRecord record_from(const Json& json) {
  CollectiveRecord r;
  r.communicator = json.at("communicator");
  r.sequence = json.at("sequence");
  r.operation = json.at("operation");
  r.count = json.value("count", size_t{0});
  r.dtype = value_of(json.value("dtype", "uint8"), all_dtypes);
  r.peer = json.value("peer", -1);
  r.message = json.value("message", false);
  r.start = json.at("start");
  r.end = json.value("end", 0.0);
  r.state = value_of(json.at("state").get<std::string>(), all_states);
  return r;
}

Json to_json(const RingSnapshot& ring) {
  Json communicators = Json::array(), entries = Json::array();
  for (const CommunicatorRecord& c : ring.communicators) {
    communicators.push_back({{"name", c.name}, {"size", c.size}, {"patient", c.patient}, {"sequence", c.sequence}});
  }
  for (const CollectiveRecord& entry : ring.entries) entries.push_back(to_json(entry));
  return {{"communicators", communicators}, {"entries", entries}};
}

}  // namespace

std::string ring_text(const RingSnapshot& ring) { return to_json(ring).dump(); }

RingSnapshot ring_from_text(const std::string& text) {
  try {
    const Json json = Json::parse(text);
    RingSnapshot ring;
    for (const Json& c : json.at("communicators")) {
      ring.communicators.push_back({c.at("name"), c.at("size"), c.at("patient"), c.at("sequence")});
    }
    for (const Json& entry : json.at("entries")) ring.entries.push_back(record_from(entry));
    return ring;
  } catch (const Json::exception& problem) {
    throw Error(str("a ring of collectives: ", problem.what()));
  }
}

std::string beat_text(const CollectiveRecord& last) { return to_json(last).dump(); }

std::string report_document(const std::vector<RankReport>& reports, const std::string& verdict) {
  std::string text =
      str("{\"time\": ", Json(utc_now_iso8601()).dump(), ",\n\"verdict\": ", Json(verdict).dump(), ",\n\"ranks\": [");
  for (const RankReport& report : reports) {
    Json json = {{"rank", report.rank},
                 {"host", report.host},
                 {"process", report.process},
                 {"contact", name_of(report.contact)}};
    if (report.silent_seconds > 0) json["silent_seconds"] = report.silent_seconds;
    if (!report.last_beat.empty()) json["last_beat"] = Json::parse(report.last_beat, nullptr, false);
    json.update(to_json(report.ring));
    text += (&report == &reports.front() ? "\n" : ",\n") + json.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  return text + "\n]}\n";
}

}  // namespace braid
