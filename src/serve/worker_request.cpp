// SPDX-License-Identifier: Apache-2.0
#include "serve/worker_request.h"

#include <algorithm>

#include "base/clock.h"
#include "serve/worker_violations.h"

namespace braid {

namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr uint64_t usual_seed = 42;  // of a request that names none

struct WorkerCode {
  const char* of_reply;
  const char* of_event;
};

WorkerCode worker_code(const Refusal& refusal) {
  if (refusal.code == "timeout") return {"INFERENCE_TIMEOUT", "TIMEOUT"};
  if (refusal.code == "out_of_memory") return {"CUDA_ERROR", "VRAM_OOM"};
  if (refusal.code == "cancelled") return {"WORKER_UNHEALTHY", "CANCELLED"};
  if (refusal.code == "queue_full") return {"QUEUE_FULL", "INFERENCE_FAILED"};
  if (refusal.status == 503) return {"WORKER_UNHEALTHY", "INFERENCE_FAILED"};
  if (refusal.status < 500) return {"INVALID_REQUEST", "INVALID_REQUEST"};
  return {"INTERNAL", "INFERENCE_FAILED"};
}

ordered_json errors_json(const std::vector<WorkerViolation>& violations) {
  ordered_json errors = ordered_json::array();
  for (const WorkerViolation& one : violations) {
    ordered_json error = {{"field", one.field}, {"constraint", one.constraint}, {"message", one.message}};
    if (!one.value.is_null()) error["value"] = one.value;
    errors.push_back(std::move(error));
  }
  return {{"errors", errors}};
}

class WorkerWriter final : public AnswerWriter {
 public:
  WorkerWriter(std::string job_id, std::string model, std::function<int64_t()> memory_bytes)
      : job_id_(std::move(job_id)), model_(std::move(model)), memory_bytes_(std::move(memory_bytes)) {}

  void begin(Call& call) override;
  void progress(Call& call, size_t answer, const RequestProgress& progress) override;
  void end(Call& call) override;
  void fail(Call& call, const Refusal& why) override;

 private:
  std::string job_id_, model_;
  std::function<int64_t()> memory_bytes_;
  int64_t told_ = 0;
  RequestEnd end_;
  bool begun_ = false;
};

void WorkerWriter::begin(Call& call) {
  begun_ = true;
  call.begin_events();
  call.event({{"type", "started"}, {"job_id", job_id_}, {"model", model_}, {"started_at", utc_now_iso8601()}});
}

// An event for each token; one that does not complete a character, or may begin a stop string, has no text yet.
void WorkerWriter::progress(Call& call, size_t, const RequestProgress& progress) {
  const size_t events = std::max<size_t>(progress.tokens.size(), progress.text.empty() ? 0 : 1);
  for (size_t i = 0; i < events; ++i) {
    const std::string& text = i + 1 == events ? progress.text : std::string();
    call.event({{"type", "token"}, {"t", text}, {"i", told_++}});
  }
  if (progress.end) end_ = *progress.end;
}

void WorkerWriter::end(Call& call) {
  const double seconds = end_.prefill_seconds + end_.decode_seconds;
  const double rate = seconds > 0 ? static_cast<double>(end_.tokens) / seconds : 0;
  call.event({{"type", "metrics"}, {"tokens_per_sec", rate}, {"vram_bytes", memory_bytes_()}});
  ordered_json last = {{"type", "end"},
                       {"tokens_out", end_.tokens},
                       {"decode_time_ms", static_cast<int64_t>(seconds * 1000)},
                       {"stop_reason", "MAX_TOKENS"}};
  if (end_.outcome == RequestOutcome::stop) last["stop_reason"] = end_.stop_string.empty() ? "EOS" : "STOP_SEQUENCE";
  if (!end_.stop_string.empty()) last["stop_sequence_matched"] = end_.stop_string;
  call.event(last);
  call.end_events();
}

void WorkerWriter::fail(Call& call, const Refusal& why) {
  if (!begun_) return call.reply(worker_reply(why));
  call.event(worker_error_event(why));
  call.end_events();
}

template <class T>
T value_or(const json& body, const char* field, T otherwise) {
  const auto found = body.find(field);
  return found == body.end() || found->is_null() ? otherwise : found->get<T>();
}

GenerationRequest request_of(const ServedModel& model, const RequestLimits& limits, const json& body) {
  GenerationRequest request;
  request.prompt = text_tokens(model, body["prompt"].get<std::string>(), SpecialTokens::add);
  check_prompt(model, limits, request.prompt.size(), "prompt");
  request.max_tokens =
      std::min(body["max_tokens"].get<int64_t>(), model.context - static_cast<int64_t>(request.prompt.size()));
  request.stop_ids = model.stop_ids;
  request.stop_strings = value_or(body, "stop", std::vector<std::string>());
  SamplingOptions& sampling = request.sampling;
  sampling.temperature = value_or(body, "temperature", 1.0);
  sampling.seed = value_or(body, "seed", usual_seed);
  sampling.top_p = value_or(body, "top_p", 1.0);
  sampling.top_k = value_or(body, "top_k", int64_t{0});
  sampling.min_p = value_or(body, "min_p", 0.0);
  sampling.repetition_penalty = value_or(body, "repetition_penalty", 1.0);
  return request;
}

}  // namespace

ordered_json worker_error_event(const Refusal& refusal) {
  return {{"type", "error"}, {"code", worker_code(refusal).of_event}, {"message", refusal.what()}};
}

HttpReply worker_reply(const Refusal& refusal) {
  const bool retriable = refusal.status >= 500 || refusal.status == 429;
  HttpReply reply = json_reply(
      {{"code", worker_code(refusal).of_reply}, {"message", refusal.what()}, {"retriable", retriable}}, refusal.status);
  if (refusal.status == 429 || refusal.status == 503) reply.headers.emplace_back("Retry-After", "1");
  return reply;
}

HttpReply refused_reply(const std::string& path, const Refusal& refusal) {
  return path == worker_path && refusal.status != 401 ? worker_reply(refusal) : reply_of(refusal);
}

std::variant<HttpReply, Generation> worker_generation(ServedModelPtr model, const RequestLimits& limits,
                                                      const std::string& body, std::function<int64_t()> memory_bytes) {
  try {
    const json object = parse_body(body);
    const std::vector<WorkerViolation> violations = worker_violations(object);
    if (!violations.empty()) return json_reply(errors_json(violations), 400);
    Generation generation;
    generation.requests.push_back(request_of(*model, limits, object));
    generation.writer =
        std::make_shared<WorkerWriter>(object["job_id"].get<std::string>(), model->name, std::move(memory_bytes));
    return generation;
  } catch (const Refusal& refusal) {
    return worker_reply(refusal);
  }
}

}  // namespace braid
