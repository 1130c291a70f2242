// SPDX-License-Identifier: Apache-2.0
#include "infer/decode_timing.h"

#include <algorithm>
#include <utility>

#include "base/caches.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/large_pages.h"
#include "infer/generate.h"
#include "infer/paged_cache.h"
#include "infer/recorded_steps.h"
#include "kernels/read_memory.h"
#include "nn/kernel_call.h"
#include "nn/precompiled.h"
#include "nn/weight_bytes.h"

namespace braid {

namespace {

// One stream's answer, as it comes out of the engine.
struct Stream {
  GrowingAnswer answer;
  std::string problem;  // where it failed
};

// All streams of one measurement, and what the step under way has brought.
class Streams {
 public:
  Streams(const GenerationRequest& request, int64_t count, const Tokenizer* tokenizer) {
    for (int64_t i = 0; i < count; ++i) all_.push_back({GrowingAnswer(request, tokenizer), ""});
  }

  void take(size_t i, RequestProgress& progress) {
    Stream& stream = all_[i];
    for (SampledToken& token : progress.tokens) {
      if (stream.answer.answer().tokens.empty()) ++begun_;
      ++came_;
      const Stopwatch watch;
      stream.answer.push(std::move(token));
      text_ += watch.seconds();
    }
    if (progress.end) stream.problem = progress.end->message;
  }

  // Tokens since it was last asked.
  int64_t came() { return std::exchange(came_, 0); }
  bool all_begun() const { return begun_ == all_.size(); }
  double text_seconds() const { return text_; }

  const Answer& first() const {
    for (const Stream& one : all_) {
      if (!one.problem.empty()) throw Error(one.problem);
    }
    return all_.front().answer.answer();
  }

 private:
  std::vector<Stream> all_;
  size_t begun_ = 0;
  int64_t came_ = 0;
  double text_ = 0;
};

// The model as an engine asks it, its seconds added up.
WholeModel timed_model(Transformer& model, int64_t most_rows, double& seconds) {
  WholeModel timed = usual_model(model, most_rows);
  timed.steps = [steps = timed.steps, &seconds](Transformer& asked, PagedCache& cache, std::span<const StepPiece> pieces) {
    const Stopwatch watch;
    at::Tensor logits = steps(asked, cache, pieces);
    wait_for(asked.device());
    seconds += watch.seconds();
    return logits;
  };
  return timed;
}

void run_steps(Engine& engine, Streams& streams, int64_t count, DecodeTiming& timing) {
  timing.forward = 0;  // without what a warm-up took
  double all = 0;
  while (true) {
    const bool answers = streams.all_begun();
    const Stopwatch watch;
    if (!engine.step()) break;
    const double seconds = watch.seconds();
    all += seconds;
    if (!answers) timing.first_token += seconds;
    if (streams.came() == count && answers) timing.steps.push_back(seconds);
  }
  timing.text = streams.text_seconds();
  timing.sampling = all - timing.forward - timing.text;
}

}  // namespace

DecodeTiming time_decoding(Transformer& model, const GenerationRequest& request, int64_t streams,
                           const Tokenizer* tokenizer) {
  check_request(request, model.config().vocabulary, model.config().context, "");
  std::vector<GenerationRequest> requests(static_cast<size_t>(streams), request);
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i].min_tokens = request.max_tokens;
    requests[i].sampling.answer = static_cast<int64_t>(i);
  }
  EngineLimits limits = limits_for(requests, {});
  limits.share_prefixes = false;  // each reads its own prompt
  DecodeTiming timing;
  Engine engine(model, nullptr, limits, timed_model(model, streams, timing.forward));
  if (model.device().is_cuda()) engine.warm_up();  // records, as a server does before its first request
  Streams running(requests.front(), streams, tokenizer);
  for (size_t i = 0; i < requests.size(); ++i) {
    engine.submit(requests[i], [&running, i](RequestProgress progress) { running.take(i, progress); });
  }
  run_steps(engine, running, streams, timing);
  timing.answer = running.first();
  timing.engine = engine.state();
  return timing;
}

int64_t weight_bytes_read(Transformer& model) {
  const Parameter& rows = *model.embedding().tokens;
  const bool is_head = rows.contributions > 1;
  HashMemory* memory = memory_of(model);
  const size_t looked_up = (is_head ? 0 : rows.compute.nbytes()) + (memory ? memory->rows().master.nbytes() : 0);
  return weight_bytes(model) - static_cast<int64_t>(looked_up);
}

double read_bandwidth(const at::Device& device) {
  constexpr int64_t least = int64_t{1} << 29, passes = 7;
  const int64_t bytes = device.is_cpu() ? std::max(least, 2 * last_caches_bytes()) : least;
  const at::Tensor memory = at::empty({bytes / 8}, at::TensorOptions().device(device).dtype(at::kLong));
  if (device.is_cpu()) prefer_large_pages(memory.mutable_data_ptr(), bytes);  // as weights lie
  memory.fill_(1);
  double best = 0;
  for (int64_t pass = 0; pass < passes; ++pass) {
    wait_for(device);
    const Stopwatch watch;
    if (device.is_cpu()) {
      if (kernels::read_memory(memory.const_data_ptr(), bytes) != 0) throw Error("memory was read wrongly");
    } else {
      memory.sum();
      wait_for(device);
    }
    best = std::max(best, double(bytes) / watch.seconds());
  }
  return best;
}

}  // namespace braid
