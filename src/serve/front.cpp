// SPDX-License-Identifier: Apache-2.0
#include "serve/front.h"

#include <algorithm>
#include <future>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/until_it_fits.h"
#include "serve/merged_metrics.h"
#include "serve/page.h"
#include "serve/prometheus.h"
#include "serve/refusal.h"
#include "serve/worker_request.h"

namespace braid {

namespace {

using nlohmann::ordered_json;

constexpr double metrics_seconds = 2;  // that a replica has to tell its numbers

const char* status_of(const Replica& replica) {
  return replica.up ? "healthy" : replica.address.host.empty() ? "starting" : "not ready";
}

ordered_json health_of(const Replica& replica) {
  return {{"name", replica.name},
          {"status", status_of(replica)},
          {"outstanding_tokens", replica.outstanding_tokens},
          {"running", replica.running},
          {"restarts", replica.restarts}};
}

ReplicaEvents with_losses(ReplicaEvents events, std::function<void(size_t replica)> lose) {
  const auto tell = [](const auto& told, size_t replica) {
    if (told) told(replica);
  };
  return {[tell, told = std::move(events.up)](size_t replica) { tell(told, replica); },
          [tell, told = std::move(events.silent), lose = std::move(lose)](size_t replica) {
            lose(replica);
            tell(told, replica);
          }};
}

}  // namespace

Front::Front(FrontOptions options, boost::asio::io_context& loop, Poster post, std::function<HttpCounts()> counts)
    : post_(std::move(post)),
      counts_(std::move(counts)),
      replicas_(loop, options.replicas, std::move(options.replica_key),
                with_losses(std::move(options.events), [this](size_t replica) { lose_requests(replica); })),
      routes_(routes(), std::move(options.keys), options.log, replies_) {}

Front::~Front() = default;

std::vector<Route> Front::routes() {
  using R = const HttpRequest&;
  using C = const std::shared_ptr<Call>&;
  const auto pass = [this](R request, C call) { pass_on(request, call); };
  return {
      {"/", "GET", true, [](R, C call) { call->reply(page_reply()); }},
      {"/health", "GET", true, [this](R, C call) { call->reply(health()); }},
      {"/metrics", "GET", false, [this](R, C call) { tell_metrics(call); }},
      {"/v1/models", "GET", false, pass},
      {"/v1/models/", "GET", false, pass},
      {"/v1/completions", "POST", false, pass},
      {"/v1/chat/completions", "POST", false, pass},
      {"/tokenize", "POST", false, pass},
      {"/detokenize", "POST", false, pass},
      {worker_path, "POST", false, pass},
  };
}

int64_t Front::memory_bytes() {
  std::promise<int64_t> sum;
  post_([&] {
    int64_t bytes = 0;
    for (const Replica& one : replicas_.all()) bytes += one.memory_bytes;
    sum.set_value(bytes);
  });
  return sum.get_future().get();
}

HttpReply Front::health() const {
  const bool ready = replicas_.up() > 0;
  int64_t bytes = 0;
  ordered_json all = ordered_json::array();
  for (const Replica& one : replicas_.all()) {
    bytes += one.memory_bytes;
    all.push_back(health_of(one));
  }
  const char* status = draining_ ? "draining" : ready ? "healthy" : "loading";
  return json_reply({{"status", status}, {"vram_bytes", bytes}, {"replicas", all}}, ready && !draining_ ? 200 : 503);
}

std::string Front::own_metrics() const {
  const HttpCounts http = counts_();
  PrometheusText text;
  text.gauge("braid_ready", "1 once a replica is ready.", replicas_.up() > 0);
  text.gauge("braid_connections", "Open connections.", http.connections);
  text.counter("braid_dropped_clients_total", "Connections that were ended because the client did not read.",
               http.dropped);
  replies_.write(text);
  const auto each = [&](const char* name, const char* type, const char* help, int64_t (*value)(const Replica&)) {
    text.family(name, type, help);
    for (const Replica& one : replicas_.all()) {
      text.sample(static_cast<double>(value(one)), {{"replica", one.name}});
    }
  };
  using R = const Replica&;
  each("braid_replica_up", "gauge", "1 while the replica answers.", [](R one) { return int64_t{one.up}; });
  each("braid_replica_outstanding_tokens", "gauge", "Tokens that its requests may still need, as the front estimates.",
       [](R one) { return one.outstanding_tokens; });
  each("braid_replica_requests_running", "gauge", "Requests that the replica has.", [](R one) { return one.running; });
  each("braid_replica_requests_total", "counter", "Requests that were given to it.", [](R one) { return one.requests; });
  each("braid_replica_requests_lost_total", "counter", "Of them those that were cut off.",
       [](R one) { return one.lost; });
  each("braid_replica_restarts_total", "counter", "Starts after the first.", [](R one) { return one.restarts; });
  return text.text();
}

// Asks all replicas, and tells what comes in time.
void Front::tell_metrics(const std::shared_ptr<Call>& call) {
  struct Gathered {
    std::shared_ptr<Call> call;
    std::vector<LabelledMetrics> texts;
    size_t left = 0;
  };
  const auto all = std::make_shared<Gathered>();
  all->call = call;
  const auto done_if_all_came = [this, all] {
    if (all->left > 0) return;
    all->call->reply(metrics_reply(merged_metrics(own_metrics(), all->texts)));
  };
  for (const Replica& one : replicas_.all()) all->texts.push_back({one.name, ""});
  all->left = 1;  // until all have been asked
  for (size_t i = 0; i < all->texts.size(); ++i) {
    const Replica& one = replicas_.all()[i];
    if (!one.up) continue;
    UpstreamHandlers handlers{[](const HttpReply&) {},
                              [all, i](const std::string& piece) { all->texts[i].text += piece; },
                              [all, i, done_if_all_came](const std::string& problem) {
                                if (!problem.empty()) all->texts[i].text.clear();
                                --all->left;
                                all->call->attempt(done_if_all_came);
                              }};
    ask_upstream(replicas_.loop(), one.address, {"GET", "/metrics", replicas_.headers(call->id()), ""},
                 std::move(handlers), metrics_seconds);
    ++all->left;
  }
  --all->left;
  done_if_all_came();
}

void Front::pass_on(const HttpRequest& request, const std::shared_ptr<Call>& call) {
  if (draining_) throw Refusal(503, "the server ends and takes no more requests", "", "draining");
  UpstreamRequest passed{request.method == "HEAD" ? "GET" : request.method, encoded_path(request.path),
                         replicas_.headers(call->id()), request.body};
  if (passed.method == "GET") return start(call, std::move(passed), {});
  passed.headers.emplace_back("Content-Type", "application/json");
  int64_t context = 0;
  for (const Replica& one : replicas_.all()) context = std::max(context, one.context);
  const auto kept = std::make_shared<UpstreamRequest>(std::move(passed));
  work_.push([this, call, kept, path = request.path, context] {
    const RequestTokens tokens = until_it_fits([&] { return request_tokens(path, kept->body, context); });
    until_it_fits([&] {
      post_([this, call, kept, tokens] {
        call->attempt([&] {
          if (!call->gone()) start(call, std::move(*kept), tokens);
        });
      });
    });
  });
}

void Front::start(const std::shared_ptr<Call>& call, UpstreamRequest request, RequestTokens tokens) {
  const auto relay = std::make_shared<Relay>(call, std::move(request), tokens, replicas_);
  std::function<void()> on_done = [this, relay = relay.get()] {
    std::erase_if(relays_, [&](const auto& one) { return one.get() == relay; });
    --running_;
  };
  relays_.insert(relay);
  ++running_;
  relay->start(std::move(on_done));
}

void Front::lose_requests(size_t replica) {
  const auto all = relays_;  // those that end leave it
  for (const auto& one : all) one->lose(replica);
}

void Front::place(size_t replica, const UpstreamAddress& address) {
  post_([this, replica, address] { replicas_.place(replica, address); });
}

void Front::lost(size_t replica) {
  post_([this, replica] { replicas_.forget(replica); });
}

void Front::restarted(size_t replica) {
  post_([this, replica] { ++replicas_.all()[replica].restarts; });
}

void Front::drain() {
  post_([this] { draining_ = true; });
}

void Front::cancel_all() {
  post_([this] {
    const auto all = relays_;
    for (const auto& one : all) one->cancel();
  });
}

void Front::stop() { replicas_.stop(); }

}  // namespace braid
