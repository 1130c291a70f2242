// SPDX-License-Identifier: Apache-2.0
#include "serve/service.h"

#include "base/error.h"
#include "base/until_it_fits.h"
#include "serve/completion_reply.h"
#include "serve/page.h"
#include "serve/text_routes.h"
#include "serve/worker_request.h"

namespace braid {

namespace {

constexpr const char* models_prefix = "/v1/models/";

// What bodies are read with, away from the server's thread.
struct Reading {
  ServedModelPtr model;
  RequestLimits limits;
  HttpRequest request;
  std::string id;
  std::function<int64_t()> memory_bytes;
};

std::variant<HttpReply, Generation> plan_of(const Reading& reading) {
  const ServedModel& model = *reading.model;
  const std::string &path = reading.request.path, &body = reading.request.body;
  if (path == worker_path) return worker_generation(reading.model, reading.limits, body, reading.memory_bytes);
  if (path == "/tokenize") return json_reply(tokenized(model, body));
  if (path == "/detokenize") return json_reply(detokenized(model, body));
  Completion completion = path == "/v1/completions" ? read_completion(model, reading.limits, body)
                                                    : read_chat_completion(model, reading.limits, body);
  return completion_generation(reading.model, std::move(completion), reading.id);
}

std::variant<HttpReply, Generation> plan_or_refusal(const Reading& reading) {
  try {
    return plan_of(reading);
  } catch (const Refusal& refusal) {
    return reply_of(refusal);
  } catch (const UsageError& problem) {
    return reply_of({400, problem.what(), "", "invalid_value"});
  } catch (const std::bad_alloc&) {
    return refused_reply(reading.request.path, out_of_memory_refusal());
  } catch (const std::exception& problem) {
    return reply_of({500, problem.what(), "", "failed"});
  }
}

int64_t device_bytes(const EngineState& state) {
  return state.weight_bytes + state.cache_bytes + state.workspace_bytes;
}

}  // namespace

std::vector<Route> Service::routes() {
  using R = const HttpRequest&;
  using C = const std::shared_ptr<Call>&;
  const auto generate = [this](R request, C call) { this->generate(request, call); };
  return {
      {"/", "GET", true, [](R, C call) { call->reply(page_reply()); }},
      {"/health", "GET", true, [this](R, C call) { call->reply(health()); }},
      {"/metrics", "GET", false, [this](R, C call) { call->reply(metrics_reply()); }},
      {"/v1/models", "GET", false,
       [this](R, C call) {
         require_ready();
         call->reply(json_reply(model_list(*model_)));
       }},
      {models_prefix, "GET", false,
       [this](R request, C call) {
         require_ready();
         const std::string name = request.path.substr(std::string(models_prefix).size());
         if (name != model_->name) throw Refusal(404, "no model " + name, "model", "model_not_found");
         call->reply(json_reply(model_object(*model_)));
       }},
      {"/v1/completions", "POST", false, generate},
      {"/v1/chat/completions", "POST", false, generate},
      {"/tokenize", "POST", false, generate},
      {"/detokenize", "POST", false, generate},
      {worker_path, "POST", false, generate},
  };
}

Service::Service(ServiceOptions options, Poster post, std::function<HttpCounts()> counts)
    : limits_(options.limits),
      timeout_seconds_(options.timeout_seconds),
      post_(std::move(post)),
      counts_(std::move(counts)),
      routes_(routes(), std::move(options.keys), options.log, metrics_.replies) {}

Service::~Service() = default;

void Service::require_ready() const {
  if (!model_) throw Refusal(503, "the model is loading", "", "loading");
}

HttpReply Service::health() const {
  const int64_t bytes = model_ ? device_bytes(backend_->state()) : 0;
  const char* status = !model_ ? "loading" : draining_ ? "draining" : "healthy";
  return json_reply({{"status", status}, {"vram_bytes", bytes}}, model_ && !draining_ ? 200 : 503);
}

HttpReply Service::metrics_reply() const {
  const EngineState state = model_ ? backend_->state() : EngineState();
  return braid::metrics_reply(metrics_.text(model_.get(), state, counts_()));
}

void Service::generate(const HttpRequest& request, const std::shared_ptr<Call>& call) {
  require_ready();
  if (draining_) throw Refusal(503, "the server ends and takes no more requests", "", "draining");
  const auto bytes = [backend = backend_] { return device_bytes(backend->state()); };
  const auto plan = std::make_shared<Plan>();
  work_.push([this, call, plan, reading = Reading{model_, limits_, request, call->id(), bytes}] {
    *plan = until_it_fits([&] { return plan_or_refusal(reading); });
    until_it_fits([&] {
      post_([this, call, plan] { call->attempt([&] { follow(call, *plan); }); });
    });
  });
}

void Service::follow(const std::shared_ptr<Call>& call, Plan& plan) {
  if (call->gone()) return;
  if (auto* generation = std::get_if<Generation>(&plan)) return start(call, std::move(*generation));
  call->reply(std::move(std::get<HttpReply>(plan)));
}

void Service::start(const std::shared_ptr<Call>& call, Generation generation) {
  const auto answering = std::make_shared<Answering>(
      call, std::move(generation), AnsweringSite{*backend_, metrics_, post_, timeout_seconds_});
  std::function<void()> on_done = [this, answering = answering.get()] {
    std::erase_if(answerings_, [&](const auto& one) { return one.get() == answering; });
    --running_;
  };
  answerings_.insert(answering);
  ++running_;
  answering->start(std::move(on_done));
}

void Service::be_ready(ServedModelPtr model, Backend& backend) {
  post_([this, model = std::move(model), &backend] {
    model_ = model;
    backend_ = &backend;
  });
}

void Service::drain() {
  post_([this] { draining_ = true; });
}

void Service::cancel_all() {
  post_([this] {
    const auto all = answerings_;  // those that end leave it
    for (const auto& one : all) one->cancel();
  });
}

}  // namespace braid
