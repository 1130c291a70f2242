// SPDX-License-Identifier: Apache-2.0
#include "experiments/run_record.h"

#include <ATen/Parallel.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <map>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/error.h"
#include "base/gpu_probe.h"
#include "base/process.h"
#include "data/dataset.h"
#include "experiments/hardware.h"
#include "experiments/version.h"
#include "nn/precompiled.h"
#include "train/memory.h"

namespace braid {

std::vector<TableSpec> record_tables() {
  TableSpec ranks{"ranks",
                  {{"session", ColumnType::int64, "1", "row of /sessions it belongs to"},
                   {"rank", ColumnType::int64, "1", "rank among those that train together"},
                   {"host", ColumnType::text, "", "machine", 64},
                   {"device", ColumnType::text, "", "cpu, or the GPU's number on its host and name", 96},
                   {"gpu_uuid", ColumnType::text, "", "the GPU's UUID, empty on CPUs", 48},
                   {"cpus", ColumnType::int64, "cores", "cores the rank may run on"},
                   {"threads", ColumnType::int64, "threads", "threads it computes with"},
                   {"pid", ColumnType::int64, "1", "process on its host"}}};
  TableSpec environment{"environment",
                        {{"session", ColumnType::int64, "1", "row of /sessions it belongs to"},
                         {"rank", ColumnType::int64, "1", "rank; others than 0 only where they differ from it"},
                         {"name", ColumnType::text, "", "environment variable", 64},
                         {"value", ColumnType::text, "", "its value; empty where the rank has it not", 512}}};
  TableSpec sessions{"sessions",
                     {{"session", ColumnType::int64, "1", "starts of the run before this one"},
                      {"first_step", ColumnType::int64, "1", "step it began with"},
                      {"started_utc", ColumnType::text, "", "when, ISO 8601", 24},
                      {"world_size", ColumnType::int64, "ranks", "ranks that trained together"},
                      {"mesh", ColumnType::text, "", "how they were arranged", 64},
                      {"host", ColumnType::text, "", "machine of rank 0", 64},
                      {"git_commit", ColumnType::text, "", "source commit of the program", 48},
                      {"config_sha256", ColumnType::text, "", "of the configuration's text", 64}}};
  return {sessions, ranks, environment};
}

namespace {

using Environment = std::map<std::string, std::string>;

nlohmann::json describe_rank(const World& world) {
  const RankPlace& place = world.places().at(static_cast<size_t>(world.rank()));
  const auto environment = recorded_environment();
  return {{"host", place.host},   {"device", place.device},           {"gpu_uuid", place.device_id},
          {"cpus", place.cpus},   {"threads", at::get_num_threads()}, {"pid", int64_t{getpid()}},
          {"environment", Environment(environment.begin(), environment.end())}};
}

Row rank_row(int64_t session, int64_t rank, const nlohmann::json& r) {
  Row row = {{"session", session}, {"rank", rank}};
  for (const char* text : {"host", "device", "gpu_uuid"}) row.emplace_back(text, r[text].get<std::string>());
  for (const char* number : {"cpus", "threads", "pid"}) row.emplace_back(number, r[number].get<int64_t>());
  return row;
}

// What `environment` says that `reference` does not, and what it lacks as empty texts.
Environment differences(const Environment& environment, const Environment& reference) {
  Environment found;
  for (const auto& [name, value] : environment) {
    const auto same = reference.find(name);
    if (same == reference.end() || same->second != value) found[name] = value;
  }
  for (const auto& [name, value] : reference) {
    if (!environment.count(name)) found[name] = "";
  }
  return found;
}

}  // namespace

RunRecord gather_run_record(const World& world, Communicator& host, int64_t session) {
  RunRecord record;
  Environment first;
  int64_t rank = 0;
  for (const std::string& text : gather_texts(host, describe_rank(world).dump())) {
    const nlohmann::json r = nlohmann::json::parse(text);
    record.ranks.push_back(rank_row(session, rank, r));
    const Environment environment = r["environment"];
    for (const auto& [name, value] : differences(environment, first)) {
      record.environment.push_back({{"session", session}, {"rank", rank}, {"name", name}, {"value", value}});
    }
    if (rank++ == 0) first = environment;
  }
  return record;
}

std::string sha256_hex(const std::string& text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  if (!EVP_Digest(text.data(), text.size(), digest, &length, EVP_sha256(), nullptr)) throw Error("SHA-256 failed");
  std::string hex;
  for (unsigned int i = 0; i < length; ++i) {
    hex += "0123456789abcdef"[digest[i] >> 4];
    hex += "0123456789abcdef"[digest[i] & 15];
  }
  return hex;
}

namespace {

std::string driver_version(const RankPlace& place) {
  if (place.device == "cpu") return "none";
  const std::string version = probe_gpu().driver_version;
  return version.empty() ? "unknown" : version;
}

// HDF5 keeps an attribute in the object's header, which ends at 64 KiB.
std::string cut(const std::string& text, size_t most) {
  return text.size() <= most ? text : text.substr(0, most) + " …";
}

RunAttributes version_attributes(const RankPlace& place) {
  const Versions v = library_versions();
  return {{"braid_version", v.braid},
          {"git_commit", v.commit},
          {"uncommitted_changes", int64_t{v.uncommitted_changes}},
          {"torch_version", v.torch},
          {"nccl_version", v.nccl},
          {"cuda_version", v.cuda},
          {"driver_version", driver_version(place)},
          {"hdf5_version", v.hdf5},
          {"mpi_version", v.mpi}};
}

}  // namespace

std::string arrangement_text(const ParallelConfig& parallel, int64_t data) {
  const bool spread = data * parallel.context > 1 && parallel.sharding() != Sharding::none;
  return mesh_text(data, parallel.mesh()) + (parallel.shares_tokens() ? ", sequence" : "") + (spread ? ", shard=" + parallel.shard : "") +
         (spread && parallel.shard_ranks > 0 ? str(" over ", parallel.shard_ranks) : "");
}

RunAttributes run_attributes(const World& world, int ranks, const RunConfig& config, const std::string& config_toml,
                             const TaskData& data, Transformer& model, const std::string& run_id) {
  const RankPlace& place = world.places().at(static_cast<size_t>(world.rank()));
  const std::string digest = sha256_hex(config_toml);
  const std::string id = !run_id.empty() ? run_id : sha256_hex(str(digest, place.host, unix_seconds(), getpid())).substr(0, 16);
  const int64_t replicas = config.parallel.mesh().data(ranks);
  const Slice mine = slice_of(config.train.batch, 0, replicas);
  const int64_t gists = config.gist.count * config.model.width;
  RunAttributes all = {{"run_id", id},
                       {"config", config_toml},
                       {"config_sha256", digest},
                       {"command_line", cut(command_line(), 8192)},
                       {"seed", config.train.seed},
                       {"deterministic", int64_t{config.train.deterministic}},
                       {"data_digest", data.digest},
                       {"epoch_samples", data.train->epoch_size()},
                       {"host", place.host},
                       {"world_size", int64_t{ranks}},
                       {"mesh", arrangement_text(config.parallel, replicas)},
                       {"device", place.device},
                       {"hardware", hardware_of(world.places())},
                       {"parameters", count_all(config.model, config.lora, config.memory) + gists},
                       {"parameters_trainable", count_trainable(config.model, config.lora, config.memory) + gists},
                       {"attention_backend", model.attention_backend(config.train.samples_at_once(mine.count))}};
  const RunAttributes versions = version_attributes(place);
  all.insert(all.end(), versions.begin(), versions.end());
  return all;
}

Row session_row(int64_t session, int64_t first_step, const RunAttributes& attributes) {
  Row row = {{"session", session}, {"first_step", first_step}, {"started_utc", utc_now_iso8601()}};
  for (const auto& [name, value] : attributes) {
    if (name == "world_size") row.emplace_back(name, std::get<int64_t>(value));
    if (name == "mesh" || name == "host" || name == "git_commit" || name == "config_sha256") {
      row.emplace_back(name, std::get<std::string>(value));
    }
  }
  return row;
}

}  // namespace braid
