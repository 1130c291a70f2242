// SPDX-License-Identifier: Apache-2.0
#include "serve/service.h"

#include <algorithm>

#include "base/error.h"
#include "serve/completion_reply.h"
#include "serve/page.h"
#include "serve/text_routes.h"
#include "serve/worker_request.h"

namespace braid {

namespace {

using Plan = std::variant<HttpReply, Generation>;

constexpr const char* worker_path = "/execute";
constexpr const char* models_prefix = "/v1/models/";

// What bodies are read with, away from the server's thread.
struct Reading {
  ServedModelPtr model;
  RequestLimits limits;
  HttpRequest request;
  std::string id;
  std::function<int64_t()> memory_bytes;
};

Plan plan_of(const Reading& reading) {
  const ServedModel& model = *reading.model;
  const std::string &path = reading.request.path, &body = reading.request.body;
  if (path == worker_path) return worker_generation(reading.model, reading.limits, body, reading.memory_bytes);
  if (path == "/tokenize") return json_reply(tokenized(model, body));
  if (path == "/detokenize") return json_reply(detokenized(model, body));
  Completion completion = path == "/v1/completions" ? read_completion(model, reading.limits, body)
                                                    : read_chat_completion(model, reading.limits, body);
  return completion_generation(reading.model, std::move(completion), reading.id);
}

Plan plan_or_refusal(const Reading& reading) {
  try {
    return plan_of(reading);
  } catch (const Refusal& refusal) {
    return reply_of(refusal);
  } catch (const UsageError& problem) {
    return reply_of({400, problem.what(), "", "invalid_value"});
  } catch (const std::exception& problem) {
    return reply_of({500, problem.what(), "", "failed"});
  }
}

HttpReply refused(const std::string& path, const Refusal& refusal) {
  return path == worker_path && refusal.status != 401 ? worker_reply(refusal) : reply_of(refusal);
}

int64_t device_bytes(const EngineState& state) {
  return state.weight_bytes + state.cache_bytes + state.workspace_bytes;
}

HttpReply page_reply() {
  HttpReply reply{200, serving_page(), "text/html; charset=utf-8", {}};
  reply.headers = {{"Content-Security-Policy",
                    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
                    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
                   {"X-Content-Type-Options", "nosniff"},
                   {"Referrer-Policy", "no-referrer"}};
  return reply;
}

}  // namespace

struct Service::Route {
  const char* path;
  const char* method;
  bool open;  // without a key
  void (*act)(Service& service, const HttpRequest& request, const std::shared_ptr<Call>& call);
};

const std::vector<Service::Route>& Service::routes() {
  using S = Service;
  using R = const HttpRequest&;
  using C = const std::shared_ptr<Call>&;
  const auto generate = [](S& service, R request, C call) { service.generate(request, call); };
  static const std::vector<Route> all = {
      {"/", "GET", true, [](S&, R, C call) { call->reply(page_reply()); }},
      {"/health", "GET", true, [](S& service, R, C call) { call->reply(service.health()); }},
      {"/metrics", "GET", false, [](S& service, R, C call) { call->reply(service.metrics_reply()); }},
      {"/v1/models", "GET", false,
       [](S& service, R, C call) {
         service.require_ready();
         call->reply(json_reply(model_list(*service.model_)));
       }},
      {models_prefix, "GET", false,
       [](S& service, R request, C call) {
         service.require_ready();
         const std::string name = request.path.substr(std::string(models_prefix).size());
         if (name != service.model_->name) throw Refusal(404, "no model " + name, "model", "model_not_found");
         call->reply(json_reply(model_object(*service.model_)));
       }},
      {"/v1/completions", "POST", false, generate},
      {"/v1/chat/completions", "POST", false, generate},
      {"/tokenize", "POST", false, generate},
      {"/detokenize", "POST", false, generate},
      {worker_path, "POST", false, generate},
  };
  return all;
}

Service::Service(ServiceOptions options, Poster post, std::function<HttpCounts()> counts)
    : options_(std::move(options)), post_(std::move(post)), counts_(std::move(counts)) {}

Service::~Service() = default;

std::string Service::request_id(const HttpRequest& request) {
  if (is_plain_token(request.request_id)) return request.request_id;
  static const char* digits = "0123456789abcdef";
  std::string id;
  for (uint64_t bits = random_(), i = 0; i < 16; ++i, bits >>= 4) id += digits[bits & 15];
  return id;
}

void Service::answer(const HttpRequest& request, std::shared_ptr<Exchange> exchange) {
  const auto is_it = [&](const Route& route) {
    return route.path == std::string(models_prefix) ? request.path.starts_with(models_prefix)
                                                    : request.path == route.path;
  };
  const auto route = std::find_if(routes().begin(), routes().end(), is_it);
  const bool known = route != routes().end();
  AccessRecord record;
  record.request_id = request_id(request);
  record.client = request.client;
  record.method = request.method;
  record.path = request.path;
  const auto call = std::make_shared<Call>(std::move(exchange), std::move(record), known ? route->path : "unknown",
                                           metrics_, options_.log);
  call->begin();
  try {
    if (!known) throw Refusal(404, str("no such path: ", request.path), "", "unknown_url");
    run_route(*route, request, call);
  } catch (const Refusal& refusal) {
    HttpReply reply = refused(request.path, refusal);
    if (refusal.status == 405) reply.headers.emplace_back("Allow", route->method);
    call->record.message = refusal.what();
    call->reply(std::move(reply));
  }
}

void Service::run_route(const Route& route, const HttpRequest& request, const std::shared_ptr<Call>& call) {
  const bool head = request.method == "HEAD" && route.method == std::string("GET");
  if (request.method != route.method && !head) {
    throw Refusal(405, str(request.path, ": expected ", route.method, ", found ", request.method), "",
                  "method_not_allowed");
  }
  if (!route.open && !options_.keys.admits(request.authorization)) {
    throw Refusal(401, "expected a field Authorization: Bearer KEY with a key that is known here", "",
                  "invalid_api_key");
  }
  route.act(*this, request, call);
}

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
  return {200, metrics_.text(model_.get(), state, counts_()), "text/plain; version=0.0.4; charset=utf-8", {}};
}

void Service::generate(const HttpRequest& request, const std::shared_ptr<Call>& call) {
  require_ready();
  if (draining_) throw Refusal(503, "the server ends and takes no more requests", "", "draining");
  const auto bytes = [backend = backend_] { return device_bytes(backend->state()); };
  work_.push([this, call, reading = Reading{model_, options_.limits, request, call->id(), bytes}]() mutable {
    post_([this, call = std::move(call), plan = plan_or_refusal(reading)]() mutable {
      if (call->gone()) return;
      if (auto* generation = std::get_if<Generation>(&plan)) return start(call, std::move(*generation));
      call->reply(std::move(std::get<HttpReply>(plan)));
    });
  });
}

void Service::start(const std::shared_ptr<Call>& call, Generation generation) {
  ++running_;
  const auto answering = std::make_shared<Answering>(
      call, std::move(generation), AnsweringSite{*backend_, metrics_, post_, options_.timeout_seconds});
  answerings_.insert(answering);
  answering->start([this, answering = answering.get()] {
    std::erase_if(answerings_, [&](const auto& one) { return one.get() == answering; });
    --running_;
  });
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

HttpReply refused_reply(int status, const std::string& message) { return reply_of({status, message, "", ""}); }

}  // namespace braid
