// SPDX-License-Identifier: Apache-2.0
// braid serve: answers over HTTP, as OpenAI's API has them.
#include <cmath>
#include <iomanip>
#include <sstream>

#include "base/error.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/serve_front.h"
#include "cli/serve_model.h"
#include "cli/serve_output.h"
#include "cli/stop_signals.h"
#include "comm/agreement.h"
#include "experiments/run.h"
#include "experiments/model_part.h"
#include "experiments/tensor_steps.h"
#include "serve/ready_callback.h"
#include "serve/serving.h"
#include "train/train_config.h"

namespace braid {

namespace {

constexpr const char* serve_examples = R"(
Examples:
  braid serve ~/SmolLM-135M-Instruct
  braid serve ~/SmolLM-135M --adapter runs/adapter --port 9000 --name tuned
  braid serve --run runs/tuned --best --quantise nf4 --precision bf16
  braid serve ~/SmolLM-1.7B --speculate draft --draft ~/SmolLM-135M
  braid serve --run runs/text --gists manual=runs/manual.h5
  braid serve ~/SmolLM-135M --replicas 2
  braid serve ~/TinyLlama --device cuda:0,cuda:1
  mpirun -n 4 braid serve ~/Llama-3-70B --precision bf16 --tensor 4
  braid serve --replica http://node1:8001 --replica http://node2:8001
  BRAID_API_KEYS=secret braid serve ~/SmolLM-135M --host 0.0.0.0 --running 64 --cache-tokens 65536

Routes: OpenAI's /v1/chat/completions, /v1/completions and /v1/models; /tokenize, /detokenize; the
public worker's /execute and /health; /metrics for Prometheus; a page to try it at /. They stand
in docs/serving.md. It listens at once and says loading until the model is there. SIGTERM and SIGINT
let answers under way end; a second one ends it at once.
Exit codes: 0 ended by a signal; 1 failed; 2 wrong use, or files that cannot be taken.
)";

// The engine as the server's backend, stepping on a thread of its own.
class RunningEngine final : public Backend {
 public:
  RunningEngine(Transformer& model, const Tokenizer& tokenizer, const EngineLimits& limits, Transformer* draft)
      : engine_(model, &tokenizer, limits, draft) {
    engine_.warm_up();
  }
  RunningEngine(Transformer& part, const Tokenizer& tokenizer, const EngineLimits& limits, const WholeModel& whole,
                Transformer* draft)
      : engine_(part, &tokenizer, limits, whole, draft) {
    engine_.warm_up();
  }
  void add_past(const std::string& name, KeptPast past) { engine_.add_past(name, std::move(past)); }
  ~RunningEngine() override { stop(); }

  void start() {
    thread_ = std::jthread([this](const std::stop_token& stopped) {
      try {
        engine_.run(stopped);
      } catch (const std::exception& problem) {
        problem_ = problem.what();
        failed_ = true;
      }
    });
  }
  void stop() {
    thread_.request_stop();
    if (thread_.joinable()) thread_.join();
  }
  bool failed() const { return failed_; }
  const std::string& problem() const { return problem_; }  // once it has failed

  RequestId submit(GenerationRequest request, OnProgress on_progress, double timeout_seconds) override {
    return engine_.submit(std::move(request), std::move(on_progress), timeout_seconds);
  }
  void cancel(RequestId id) override { engine_.cancel(id); }
  EngineState state() const override { return engine_.state(); }

 private:
  Engine engine_;
  std::atomic<bool> failed_ = false;
  std::string problem_;
  std::jthread thread_;
};

std::string mebibytes(int64_t bytes) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(1) << static_cast<double>(bytes) / (1 << 20) << " MiB";
  return text.str();
}

std::string summary(const ServedModel& model, const EngineState& state, const EngineLimits& limits) {
  const std::string id = model.device_id.empty() ? "" : str(" (", model.device_id, ")");
  return str(model.name, " on ", model.device, id, " in ", model.precision, ": weights ", mebibytes(state.weight_bytes),
             ", cache ", mebibytes(state.cache_bytes), " for ", state.blocks * limits.block_tokens,
             " tokens, workspace ", mebibytes(state.workspace_bytes), "; context ", model.context);
}

// The model, or this rank's part of it.
AdaptedModel load_share(const ServeRequest& request, World& world) {
  if (request.tensor == 1) return load_model(request.model, world);
  TrainConfig numbers;
  numbers.precision = request.model.precision;
  AdaptedModel loaded;
  agree(world.host(), [&] {  // or each rank would say of its own what is wrong with the files
    loaded = load_model_part(request.model.source, numbers.numeric(), device_of(world), world.data());
  });
  return loaded;
}

// What --gists names; of a model that is cut, this rank's heads of it.
ServedGists load_gists(const ServeRequest& request, AdaptedModel& loaded, World& world) {
  if (request.tensor == 1) return served_gists(request, loaded);
  ServedGists gists;
  agree(world.host(), [&] { gists = served_gists(request, loaded); });
  const int64_t heads = loaded.model->config().key_value_heads();
  for (auto& [name, past] : gists.pasts) past = with_heads(past, heads * world.rank(), heads);
  return gists;
}

// Until a signal comes; then what is under way may end.
void serve_until_told(Serving& serving, const RunningEngine& engine, const StopSignals& signals, double drain_seconds) {
  while (!signals.came()) {
    if (engine.failed()) throw Error(engine.problem());
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  say("stopping: answers under way may end");
  const bool in_time = serving.drain(drain_seconds);
  say(in_time ? "stopped" : str("stopped; what was not done after ", drain_seconds, " s was cancelled"));
}

struct StopServing {
  Serving& serving;
  ~StopServing() { serving.stop(); }
};

// Once rank 0 has no more steps, whatever happens.
struct EndSteps {
  TensorSteps* steps;
  ~EndSteps() {
    if (steps) steps->end();
  }
};

std::unique_ptr<RunningEngine> make_engine(const ServeRequest& request, const AdaptedModel& loaded,
                                           const ServedModel& model, Transformer* draft, TensorSteps* ranks) {
  if (!ranks) return std::make_unique<RunningEngine>(*loaded.model, model.tokenizer, request.engine, draft);
  return std::make_unique<RunningEngine>(*loaded.model, model.tokenizer, request.engine, ranks->whole_model(), draft);
}

int serve(World& world, const ServeRequest& request, Serving& serving, const AccessLog& log, StopSignals& signals) {
  choose_threads(world);
  const std::string url = url_of(request.host, serving.port());
  say("listening on " + url + ", loading " + request.name);
  AdaptedModel loaded = load_share(request, world);
  const ServedGists gists = load_gists(request, loaded, world);
  std::optional<TensorSteps> ranks;
  if (request.tensor > 1) ranks.emplace(world, loaded.shape.vocabulary);
  const EndSteps after_the_engine{ranks ? &*ranks : nullptr};
  const std::optional<AdaptedModel> draft = load_draft(request.speculation, request.model, loaded, world);
  const ServedModelPtr model = served_model(request, loaded, gists, world);
  const std::unique_ptr<RunningEngine> made =
      make_engine(request, loaded, *model, draft ? draft->model.get() : nullptr, ranks ? &*ranks : nullptr);
  RunningEngine& engine = *made;
  for (const auto& [name, past] : gists.pasts) engine.add_past(name, past);
  const StopServing before_the_engine{serving};
  engine.start();
  signals.begin_to_keep();
  serving.be_ready(model, engine);
  const EngineState state = engine.state();
  say(summary(*model, state, request.engine));
  say(str("steps of every size took ", std::round(state.warm_up_seconds * 100) / 100, " s once; requests find them made"));
  if (!state.recording_problem.empty()) log.note("not_recorded", state.recording_problem);
  say("ready on " + url);
  if (!request.callback_url.empty()) {
    const int64_t bytes = state.weight_bytes + state.cache_bytes + state.workspace_bytes;
    tell_ready(parse_callback_url(request.callback_url), {request.worker_id, url, bytes});
  }
  serve_until_told(serving, engine, signals, request.drain_seconds);
  return exit_done;
}

// Of a rank without requests, as many steps as rank 0 tells.
int follow(World& world, const ServeRequest& request) {
  choose_threads(world);
  AdaptedModel loaded = load_share(request, world);
  const ServedGists gists = load_gists(request, loaded, world);
  std::vector<KeptPast> pasts;
  for (const auto& [name, past] : gists.pasts) pasts.push_back(past);
  TensorSteps(world, loaded.shape.vocabulary).follow(*loaded.model, std::move(pasts));
  return exit_done;
}

int listen_and_serve(World& world, const ServeRequest& request, StopSignals& signals) {
  AccessLogFile log(request.log);
  raise_file_limit(request.http.connections);
  const AccessLog lines(log.out());
  const ServiceOptions options{ApiKeys(request.keys), request.requests, request.timeout_seconds, lines};
  Serving serving(request.host, request.port, request.http, options);
  return serve(world, request, serving, lines, signals);
}

int serve_command(const ServeRequest& request) {
  StopSignals signals;
  return with_world(request.model.world, [&](World& world, Logger&) {
    if (world.size() != request.tensor) {
      throw AgreedError(str("--tensor ", request.tensor, ": expected as many ranks, found ", world.size()), exit_usage);
    }
    if (world.rank() == 0) return listen_and_serve(world, request, signals);
    signals.begin_to_keep();  // rank 0 says when it is over
    return follow(world, request);
  });
}

}  // namespace

int command_serve(const Arguments& arguments) {
  cxxopts::Options options("braid serve", "Answers over HTTP by a model, its adapter, or a run.");
  add_serve_options(options);
  add_model_options(options);
  options.add_options()("h,help", "this text");
  ServeRequest request;
  if (!parse_arguments(
          options, arguments, [&](const auto& parsed) { request = read_serve_request(parsed); }, serve_examples)) {
    return exit_done;
  }
  return request.is_front() ? serve_front(request, arguments) : serve_command(request);
}

}  // namespace braid
