// SPDX-License-Identifier: Apache-2.0
#include "cli/serve_options.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "cli/comma_list.h"
#include "cli/options.h"
#include "cli/replica_commands.h"
#include "serve/api_keys.h"
#include "serve/ready_callback.h"

namespace braid {

namespace {

constexpr const char* keys_variable = "BRAID_API_KEYS";

int64_t whole(const cxxopts::ParseResult& parsed, const char* name, int64_t least, int64_t most) {
  const auto value = parsed[name].as<int64_t>();
  if (value >= least && value <= most) return value;
  throw UsageError(str("--", name, " ", value, ": expected a whole number from ", least, " to ", most));
}

double seconds(const cxxopts::ParseResult& parsed, const char* name) {
  constexpr double a_month = 31 * 86400.0;
  const auto value = parsed[name].as<double>();
  if (value >= 0 && value <= a_month) return value;
  throw UsageError(str("--", name, " ", value, ": expected seconds from 0"));
}

std::vector<std::string> read_keys(const cxxopts::ParseResult& parsed) {
  std::vector<std::string> keys;
  if (const std::string file = text_option(parsed, "api-key-file"); !file.empty()) keys = ApiKeys::from_file(file);
  if (const char* list = std::getenv(keys_variable)) {
    for (std::string& key : ApiKeys::from_list(list)) keys.push_back(std::move(key));
    if (keys.empty()) throw UsageError(str(keys_variable, ": expected keys separated by commas, found none"));
  }
  return keys;
}

// The folder's own name; of a checkpoint that of its run.
std::string usual_name(const ModelSource& source) {
  std::error_code problem;
  const auto path =
      std::filesystem::absolute(source.model.empty() ? source.run : source.model, problem).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

void read_limits(const cxxopts::ParseResult& parsed, ServeRequest& request) {
  constexpr int64_t many = int64_t{1} << 40;
  request.http.body_bytes = static_cast<size_t>(whole(parsed, "max-body", 1024, int64_t{1} << 30));
  request.http.connections = static_cast<size_t>(whole(parsed, "connections", 1, 1 << 20));
  request.requests.prompt_tokens = whole(parsed, "max-prompt", 0, many);
  request.engine.running = whole(parsed, "running", 1, 1 << 16);
  request.engine.waiting = whole(parsed, "queue", 0, 1 << 20);
  request.engine.step_tokens = whole(parsed, "step-tokens", 1, 1 << 20);
  request.engine.cache_tokens = whole(parsed, "cache-tokens", 0, many);
  request.engine.share_prefixes = parsed.count("no-shared-prefixes") == 0;
  request.speculation = read_speculation(parsed);
  request.engine.speculation = request.speculation.options;
  request.timeout_seconds = seconds(parsed, "timeout");
  request.drain_seconds = seconds(parsed, "drain-seconds");
}

// NAME=FILE.
NamedGists parse_gists(const std::string& text) {
  const size_t sign = text.find('=');
  const bool whole = sign != std::string::npos && sign > 0 && sign + 1 < text.size();
  const bool plain = whole && text.substr(0, sign).find('#') == std::string::npos;
  if (!plain) throw UsageError(str("--gists ", text, ": expected NAME=FILE, a name without #"));
  return {text.substr(0, sign), text.substr(sign + 1)};
}

void read_gists(const cxxopts::ParseResult& parsed, ServeRequest& request) {
  if (!parsed.count("gists")) return;
  for (const std::string& text : parsed["gists"].as<std::vector<std::string>>()) {
    request.gists.push_back(parse_gists(text));
    for (size_t i = 0; i + 1 < request.gists.size(); ++i) {
      if (request.gists[i].name == request.gists.back().name) throw UsageError(str("--gists ", text, ": the name is there twice"));
    }
  }
}

void read_tensor(const cxxopts::ParseResult& parsed, ServeRequest& request) {
  request.tensor = whole(parsed, "tensor", 1, 1024);
  if (request.tensor == 1) return;
  if (request.is_front()) throw UsageError("--tensor and several replicas: expected one of both");
}

void read_replicas(const cxxopts::ParseResult& parsed, ServeRequest& request) {
  request.devices = comma_list(parsed["device"].as<std::string>());
  if (parsed.count("replicas")) request.replicas = whole(parsed, "replicas", 1, 1024);
  if (!parsed.count("replica")) return;
  for (const std::string& url : parsed["replica"].as<std::vector<std::string>>()) {
    request.replica_urls.push_back(parse_upstream_url("--replica", url));
  }
  for (const char* name : {"replicas", "model", "run", "adapter", "device", "name", "gists"}) {
    if (parsed.count(name)) throw UsageError(str("--replica URL and --", name, ": expected one of both"));
  }
}

// Of a model that this process serves itself: cuda:1 makes that GPU the only one it sees.
std::string own_device(const ServeRequest& request) {
  if (request.devices.size() != 1) return "auto";  // each replica has its own
  const std::string& device = request.devices.front();
  const std::string gpu = gpu_number(device);
  if (gpu.empty() || request.is_front()) return gpu.empty() ? device : "cuda";
  for (const auto& [name, value] : only_gpu(gpu)) setenv(name.c_str(), value.c_str(), 1);
  return "cuda";
}

}  // namespace

void add_serve_options(cxxopts::Options& options) {
  const auto text = [](const char* otherwise) { return cxxopts::value<std::string>()->default_value(otherwise); };
  const auto none = [] { return cxxopts::value<std::string>(); };
  const auto none_whole = [] { return cxxopts::value<int64_t>(); };
  const auto whole = [](const char* otherwise) { return cxxopts::value<int64_t>()->default_value(otherwise); };
  const auto number = [](const char* otherwise) { return cxxopts::value<double>()->default_value(otherwise); };
  options.add_options()("host", "address to listen on; 0.0.0.0: all of this machine's", text("127.0.0.1"), "ADDRESS")(
      "port", "port to listen on; 0: a free one, which is printed", whole("8000"), "N")(
      "name", "the model's name in requests (default: that of its folder)", none(), "NAME")(
      "api-key-file",
      "keys of which a request must have one, one a line; also the variable BRAID_API_KEYS, separated by "
      "commas (default: everyone may ask)",
      none(), "FILE");
  options.add_options()("running", "requests that are answered at once", whole("16"), "N")(
      "queue", "requests that may wait beside them; more are told to come again", whole("256"), "N")(
      "cache-tokens",
      "tokens that the key-value cache holds, of all requests together; 0: the model's context for each", whole("0"),
      "N")("step-tokens", "prompt tokens that one step reads, of all requests together", whole("256"), "N")(
      "no-shared-prefixes", "prompts that begin alike share nothing in the cache")(
      "gists",
      "contexts that braid gist compress has compressed, for --run (repeatable): completions that say \"gists\": "
      "\"NAME\", or \"NAME#3\" where the file has several, are questions to one",
      cxxopts::value<std::vector<std::string>>(), "NAME=FILE");
  options.add_options()("max-prompt", "tokens of a prompt at most; 0: as the context allows", whole("0"), "N")(
      "max-body", "bytes of a request's body at most", whole("4194304"), "N")("connections", "open connections at most",
                                                                              whole("1024"), "N")(
      "timeout", "seconds that an answer may take, waiting included; 0: any time", number("600"), "S")(
      "drain-seconds", "time for answers under way once SIGTERM or SIGINT has come", number("30"), "S")(
      "log", "a line of JSON for each request goes to this file; -: standard error", text("-"), "FILE")(
      "callback-url", "once ready, POST worker_id, vram_bytes and uri there", none(), "URL")(
      "worker-id", "what the callback calls this server", none(), "ID");
  options.add_options()("replicas",
                        "processes that share the requests, each with the model and with its part of the cores, or on the "
                        "GPU that --device cuda:0,cuda:1 names",
                        none_whole(), "N")(
      "replica", "a server elsewhere that this one only stands before (repeatable)",
      cxxopts::value<std::vector<std::string>>(), "URL")(
      "tensor", "cut the model over the N ranks that mpirun or srun starts, each with a part of all weights",
      whole("1"), "N");
  add_speculation_options(options);
  options.parse_positional({"model"});
  options.positional_help("MODEL");
}

ServeRequest read_serve_request(const cxxopts::ParseResult& parsed) {
  ServeRequest request;
  read_replicas(parsed, request);
  if (request.replica_urls.empty()) request.model = read_model_options(parsed, own_device(request));
  request.host = parsed["host"].as<std::string>();
  request.port = static_cast<uint16_t>(whole(parsed, "port", 0, 65535));
  request.name = text_option(parsed, "name");
  if (request.name.empty() && request.replica_urls.empty()) request.name = usual_name(request.model.source);
  request.keys = read_keys(parsed);
  request.log = parsed["log"].as<std::string>();
  request.callback_url = text_option(parsed, "callback-url");
  request.worker_id = text_option(parsed, "worker-id");
  if (request.callback_url.empty() != request.worker_id.empty()) {
    throw UsageError("--callback-url and --worker-id: expected both or none");
  }
  if (!request.callback_url.empty()) parse_callback_url(request.callback_url);
  read_limits(parsed, request);
  read_gists(parsed, request);
  read_tensor(parsed, request);
  return request;
}

}  // namespace braid
