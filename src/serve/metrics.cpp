// SPDX-License-Identifier: Apache-2.0
#include "serve/metrics.h"

namespace braid {

namespace {

std::vector<double> waiting_bounds() { return {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}; }
std::vector<double> token_bounds() { return {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5}; }
std::vector<double> request_bounds() { return {0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}; }

constexpr RequestOutcome all_outcomes[] = {RequestOutcome::stop,          RequestOutcome::length,
                                           RequestOutcome::cancelled,     RequestOutcome::timed_out,
                                           RequestOutcome::out_of_memory, RequestOutcome::failed};

void histogram(PrometheusText& text, const std::string& name, const std::string& help, const Histogram& values) {
  text.family(name, "histogram", help);
  text.samples(values);
}

void add_engine(PrometheusText& text, const EngineState& state) {
  text.gauge("braid_requests_running", "Requests whose tokens are being made.", state.running);
  text.gauge("braid_requests_waiting", "Requests that wait for room.", state.waiting);
  text.gauge("braid_outstanding_tokens", "Tokens that running and waiting requests may still need.",
        state.outstanding_tokens);
  text.gauge("braid_cache_blocks", "Blocks of the key-value cache.", state.blocks);
  text.gauge("braid_cache_blocks_used", "Blocks that running requests hold.", state.blocks_in_use);
  text.gauge("braid_cache_blocks_kept", "Blocks of ended requests that prompts may find again.", state.blocks_kept);
  text.counter("braid_steps_total", "Forward passes.", state.steps);
  text.counter("braid_step_tokens_total", "Tokens that went through the model.", state.step_rows);
  text.counter("braid_read_bytes_total", "Weights, keys and values that forward passes had to read.", state.read_bytes);
  text.counter("braid_proposed_tokens_total", "Tokens that speculation proposed.", state.proposed_tokens);
  text.counter("braid_accepted_tokens_total", "Of them those that answers took.", state.accepted_tokens);
  text.family("braid_memory_bytes", "gauge", "Memory on the model's device, measured.");
  text.sample(static_cast<double>(state.weight_bytes), {{"kind", "weights"}});
  text.sample(static_cast<double>(state.cache_bytes), {{"kind", "cache"}});
  text.sample(static_cast<double>(state.workspace_bytes), {{"kind", "workspace"}});
  text.sample(static_cast<double>(state.peak_bytes), {{"kind", "peak"}});
  text.gauge("braid_recorded_step_sizes", "Sizes of steps that are recorded as CUDA graphs.", state.recorded_sizes);
  text.gauge("braid_recording_failed", "1 where a GPU could not record steps: tokens take longer then.",
             state.recording_problem.empty() ? 0 : 1);
  text.family("braid_warm_up_seconds", "gauge", "What steps of every size took before the first request.");
  text.sample(state.warm_up_seconds);
}

}  // namespace

const char* name_of(RequestOutcome outcome) {
  switch (outcome) {
    case RequestOutcome::stop:
      return "stop";
    case RequestOutcome::length:
      return "length";
    case RequestOutcome::cancelled:
      return "cancelled";
    case RequestOutcome::timed_out:
      return "timed_out";
    case RequestOutcome::out_of_memory:
      return "out_of_memory";
    case RequestOutcome::failed:
      return "failed";
  }
  return "";
}

Metrics::Metrics()
    : first_token_(waiting_bounds()), next_token_(token_bounds()), whole_(request_bounds()), queue_(waiting_bounds()) {
  for (const RequestOutcome outcome : all_outcomes) outcomes_[name_of(outcome)] = 0;
}

void Metrics::first_token(double seconds) { first_token_.observe(seconds); }

void Metrics::next_tokens(double seconds, int64_t tokens) {
  if (tokens > 0) next_token_.observe(seconds / static_cast<double>(tokens), tokens);
}

void Metrics::ended(const RequestEnd& end, double seconds) {
  ++outcomes_[name_of(end.outcome)];
  prompt_tokens_ += end.prompt_tokens;
  cached_tokens_ += end.cached_tokens;
  new_tokens_ += end.tokens;
  whole_.observe(seconds);
  queue_.observe(end.queue_seconds);
}

void Metrics::add_requests(PrometheusText& text) const {
  replies.write(text);
  text.family("braid_requests_total", "counter", "Answers that have ended, by how.");
  for (const auto& [outcome, count] : outcomes_) text.sample(static_cast<double>(count), {{"outcome", outcome}});
  text.counter("braid_cancelled_total", "Answers whose client went away.", outcomes_.at("cancelled"));
  text.counter("braid_out_of_memory_total", "Answers that ended for want of memory.", outcomes_.at("out_of_memory"));
  text.counter("braid_queue_full_total", "Requests that were refused because too many waited.", refused_);
  text.counter("braid_prompt_tokens_total", "Tokens of the prompts of ended answers.", prompt_tokens_);
  text.counter("braid_prefix_hit_tokens_total", "Of them those that were found in the cache.", cached_tokens_);
  text.counter("braid_generated_tokens_total", "Tokens of ended answers.", new_tokens_);
  histogram(text, "braid_time_to_first_token_seconds", "From a request's arrival to its first token.", first_token_);
  histogram(text, "braid_inter_token_seconds", "Between tokens of an answer.", next_token_);
  histogram(text, "braid_request_seconds", "From a request's arrival to its answer's end.", whole_);
  histogram(text, "braid_queue_seconds", "From a request's arrival to its first step.", queue_);
}

std::string Metrics::text(const ServedModel* model, const EngineState& state, const HttpCounts& http) const {
  PrometheusText text;
  if (model) {
    text.family("braid_model_info", "gauge", "What is served.");
    Labels labels = {{"model", model->name}, {"device", model->device}, {"precision", model->precision}};
    if (!model->device_id.empty()) labels.push_back({"uuid", model->device_id});
    text.sample(1, labels);
  }
  text.gauge("braid_ready", "1 once the model has loaded.", model ? 1 : 0);
  text.gauge("braid_connections", "Open connections.", http.connections);
  text.counter("braid_dropped_clients_total", "Connections that were ended because the client did not read.",
          http.dropped);
  add_engine(text, state);
  add_requests(text);
  return text.text();
}

}  // namespace braid
