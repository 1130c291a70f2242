// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_serve.h"

#include <algorithm>
#include <iostream>
#include <optional>

#include "base/clock.h"
#include "base/error.h"
#include "base/philox.h"
#include "cli/child_server.h"
#include "cli/comma_list.h"
#include "cli/load_figures.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "infer/decode_timing.h"
#include "nn/precompiled.h"
#include "serve/ready_callback.h"

namespace braid {

namespace {

constexpr const char* bench_examples = R"(
Examples:
  braid bench serve ~/SmolLM-135M --streams 1,4,16,64
  braid bench serve ~/SmolLM-135M --streams 1,16 -- --precision bf16 --speculate ngram
  braid bench serve --url http://node7:8000 --streams 1,8,32 --prompt-tokens 512 --tokens 128 --json

Starts braid serve with MODEL, on a free port of this machine and with what follows -- as its
options, or asks a server that runs at URL, this one or another with OpenAI's /v1/completions and
/tokenize. Each of N streams sends --requests requests one after the other; prompts are words drawn
by --seed, cut to --prompt-tokens tokens, no two of them alike; answers have --tokens tokens. A line
for each N: time to the first piece of text and between pieces, as the client sees them; tokens and
requests a second; requests that failed. Of a server it started also its memory by kind, and the
weights, keys and values that it read, as a share of the bandwidth at which this device was measured
to read before and after. More than 100 % is an error; what fits into a processor's caches has no share.
Exit codes: 0 done; 1 failed, or requests did; 2 wrong use.
)";

struct ServeBench {
  std::string model, url, api_key, name;
  std::vector<std::string> server_words;  // after --
  std::vector<int64_t> streams;
  int64_t requests = 0, prompt_tokens = 0, tokens = 0;
  double temperature = 0, timeout_seconds = 0;
  uint64_t seed = 0;
  bool json = false;
};

int64_t at_least_one(const cxxopts::ParseResult& parsed, const char* name) {
  const auto value = parsed[name].as<int64_t>();
  if (value < 1) throw UsageError(str("--", name, " ", value, ": expected 1 or more"));
  return value;
}

ServeBench read_bench(const cxxopts::ParseResult& parsed, const Arguments& server_words) {
  ServeBench bench;
  bench.model = text_option(parsed, "model");
  bench.url = text_option(parsed, "url");
  if (bench.model.empty() == bench.url.empty())
    throw UsageError("braid bench serve: expected MODEL or --url URL, one of both");
  if (!bench.url.empty() && !server_words.empty()) throw UsageError("braid bench serve: with --url nothing follows --");
  bench.server_words = server_words;
  bench.api_key = text_option(parsed, "api-key");
  bench.name = text_option(parsed, "name");
  bench.streams =
      whole_numbers(comma_list(parsed["streams"].as<std::string>()), 1, "--streams: expected numbers from 1");
  if (bench.streams.empty()) throw UsageError("--streams: expected a comma list");
  bench.requests = at_least_one(parsed, "requests");
  bench.prompt_tokens = at_least_one(parsed, "prompt-tokens");
  bench.tokens = at_least_one(parsed, "tokens");
  bench.temperature = parsed["temperature"].as<double>();
  bench.timeout_seconds = parsed["timeout"].as<double>();
  if (bench.temperature < 0) throw UsageError("--temperature: expected a number from 0");
  if (bench.timeout_seconds <= 0) throw UsageError("--timeout: expected seconds above 0");
  bench.seed = parsed["seed"].as<uint64_t>();
  bench.json = parsed.count("json") > 0;
  return bench;
}

// So many running requests, and room in the cache for them; what the user says comes later and has the last word.
std::vector<std::string> server_words(const ServeBench& bench) {
  constexpr int64_t block = 16;
  const int64_t most = *std::max_element(bench.streams.begin(), bench.streams.end());
  const int64_t room = most * (bench.prompt_tokens + bench.tokens + 2 * block);
  std::vector<std::string> words = {"--model", bench.model, "--port", "0", "--log", "/dev/null"};
  for (const auto& [option, value] : {std::pair("--running", most), std::pair("--cache-tokens", room)}) {
    words.insert(words.end(), {option, std::to_string(value)});
  }
  words.insert(words.end(), bench.server_words.begin(), bench.server_words.end());
  return words;
}

// What is asked of one server.
class Asked {
 public:
  Asked(const ServeBench& bench, const std::string& url) : bench_(bench) {
    const CallbackUrl parsed = parse_callback_url(url, "--url");
    target_ = {parsed.host, parsed.port, parsed.path == "/" ? "" : parsed.path, bench.api_key};
    while (target_.path.ends_with("/")) target_.path.pop_back();
    name_ = bench.name.empty() ? first_model() : bench.name;
  }

  // Seconds of a first request alone, after which everything is made.
  double first_request() {
    const auto timing = run_load(target_, {{body(0)}}, bench_.timeout_seconds).front().front();
    if (!timing.problem.empty()) throw Error("braid bench serve: the first request failed: " + timing.problem);
    return timing.whole;
  }

  nlohmann::ordered_json load(int64_t streams) {
    std::vector<std::vector<std::string>> bodies(static_cast<size_t>(streams));
    for (auto& own : bodies) {
      for (int64_t n = 0; n < bench_.requests; ++n) own.push_back(body(++number_));
    }
    const Stopwatch watch;
    const auto timings = run_load(target_, bodies, bench_.timeout_seconds);
    return load_figures(timings, watch.seconds());
  }

  ServerMetrics metrics() const { return ServerMetrics(fetch(target_, "GET", "/metrics")); }
  const std::string& name() const { return name_; }

 private:
  std::string first_model() const {
    const auto models = nlohmann::json::parse(fetch(target_, "GET", "/v1/models"), nullptr, false);
    const auto name = nlohmann::json::json_pointer("/data/0/id");
    if (models.is_discarded() || !models.contains(name))
      throw Error("braid bench serve: /v1/models names no model; --name does");
    return models[name].get<std::string>();
  }

  // Ids of prompt `number`.
  nlohmann::json prompt(int64_t number) const {
    static constexpr const char* words[] = {"river", "stone", "light", "seven", "under", "paper", "green",  "answer",
                                            "north", "music", "table", "water", "young", "train", "silver", "garden"};
    const RandomStream stream(bench_.seed, RandomPurpose::sampling, "prompt", number);
    std::string text;
    for (int64_t w = 0; w < bench_.prompt_tokens; ++w)
      text += str(w ? " " : "", words[stream.below(w, std::size(words))]);
    const nlohmann::json asked = {{"model", name_}, {"prompt", text}};
    const auto reply = nlohmann::json::parse(fetch(target_, "POST", "/tokenize", asked.dump()), nullptr, false);
    if (reply.is_discarded() || !reply.contains("tokens")) throw Error("braid bench serve: /tokenize tells no tokens");
    nlohmann::json ids = reply["tokens"];
    while (static_cast<int64_t>(ids.size()) > bench_.prompt_tokens) ids.erase(ids.size() - 1);
    return ids;
  }

  std::string body(int64_t number) const {
    return nlohmann::json{{"model", name_},
                          {"prompt", prompt(number)},
                          {"max_tokens", bench_.tokens},
                          {"temperature", bench_.temperature},
                          {"seed", static_cast<int64_t>(bench_.seed) + number},
                          {"ignore_eos", true},
                          {"stream", true},
                          {"stream_options", {{"include_usage", true}}}}
        .dump();
  }

  const ServeBench& bench_;
  LoadTarget target_;
  std::string name_;
  int64_t number_ = 0;  // of the last prompt
};

double bandwidth_of(const std::string& device) {
  const bool is_gpu = device.starts_with("cuda");
  if (is_gpu && !at::hasCUDA()) return 0;
  return read_bandwidth(is_gpu ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU));
}

void tell_server(const ServeBench& bench, const std::string& name, const ServerMetrics& metrics, double load_seconds,
                 double first_request) {
  if (bench.json) return;
  const auto mebibytes = [&](const char* kind) {
    return int64_t(metrics.value(str("braid_memory_bytes{kind=\"", kind, "\"}")) / (1 << 20) + 0.5);
  };
  std::cout << name;
  if (load_seconds > 0) {
    std::cout << " on " << metrics.label("braid_model_info", "device") << " in "
              << metrics.label("braid_model_info", "precision") << ": weights " << mebibytes("weights")
              << " MiB, cache " << mebibytes("cache") << " MiB, workspace " << mebibytes("workspace")
              << " MiB; ready after " << load_seconds << " s";
  }
  std::cout << "; first request " << first_request << " s; prompts of " << bench.prompt_tokens << " tokens, answers of "
            << bench.tokens << "\n"
            << load_table_head() << std::flush;
}

// More than all of it is no result.
void check_share(const nlohmann::ordered_json& line) {
  const auto share = line.find("read_share");
  if (share == line.end() || !share->is_number() || share->get<double>() <= 1) return;
  throw Error(str("braid bench serve: ", 100 * share->get<double>(),
                  " % of the measured bandwidth: what was measured or counted is wrong"));
}

int run_bench(const ServeBench& bench) {
  std::optional<ChildServer> server;
  if (bench.url.empty()) server.emplace(server_words(bench));
  Asked asked(bench, server ? server->url() : bench.url);
  ServerMetrics before(server ? asked.metrics() : ServerMetrics(""));
  const std::string device = before.label("braid_model_info", "device");
  double bandwidth = server ? bandwidth_of(device) : 0;
  const double load_seconds = server ? server->load_seconds() : 0, first_request = asked.first_request();
  tell_server(bench, asked.name(), before, load_seconds, first_request);
  int64_t failed = 0;
  for (const int64_t streams : bench.streams) {
    if (server) before = asked.metrics();
    nlohmann::ordered_json line = {{"model", asked.name()}, {"first_request_seconds", first_request}};
    if (server) line["load_seconds"] = load_seconds;
    line.update(asked.load(streams));
    if (server) {
      const ServerMetrics after = asked.metrics();
      bandwidth = std::max(bandwidth, bandwidth_of(device));
      add_server_figures(line, before, after, bandwidth);
    }
    failed += line["failed"].get<int64_t>();
    std::cout << (bench.json ? line.dump() + "\n" : load_table_row(line)) << std::flush;
    if (line["failed"] > 0) std::cerr << "braid: a request failed: " << line["problem"].get<std::string>() << std::endl;
    check_share(line);
  }
  return failed > 0 ? exit_failed : exit_done;
}

void add_options(cxxopts::Options& options) {
  const auto text = [](const char* otherwise) { return cxxopts::value<std::string>()->default_value(otherwise); };
  const auto none = [] { return cxxopts::value<std::string>(); };
  const auto number = [](const char* value) { return cxxopts::value<int64_t>()->default_value(value); };
  options.add_options()("model", "folder of a Hugging Face Llama, to start a server with", none(), "DIR")(
      "url", "or a server that runs, http://HOST:PORT", none(), "URL")("api-key", "for that server", none(), "KEY")(
      "name", "of the model in requests (default: the first at /v1/models)", none(), "NAME");
  options.add_options()("streams", "comma list of clients beside each other", text("1,4,16,64"), "N,…")(
      "requests", "of each client, one after the other", number("2"), "N")(
      "prompt-tokens", "of each prompt", number("64"), "N")("tokens", "of each answer", number("32"), "N")(
      "temperature", "0: the likeliest token", cxxopts::value<double>()->default_value("0"), "T")(
      "seed", "of prompts and draws", cxxopts::value<uint64_t>()->default_value("0"), "N")(
      "timeout", "seconds after which a request has failed", cxxopts::value<double>()->default_value("600"), "S")(
      "json", "a JSON object for each line of the table, with all that was measured")("h,help", "this text");
  options.parse_positional({"model"});
  options.positional_help("MODEL");
}

}  // namespace

int command_bench_serve(const Arguments& arguments) {
  cxxopts::Options options("braid bench serve", "What clients see of a server when many ask at once.");
  add_options(options);
  const auto cut = std::find(arguments.begin(), arguments.end(), "--");
  const Arguments of_server(cut == arguments.end() ? cut : cut + 1, arguments.end());
  ServeBench bench;
  const auto use = [&](const cxxopts::ParseResult& parsed) { bench = read_bench(parsed, of_server); };
  if (!parse_arguments(options, Arguments(arguments.begin(), cut), use, bench_examples)) return exit_done;
  return run_bench(bench);
}

}  // namespace braid
