// SPDX-License-Identifier: Apache-2.0
// Many requests over one model at once. Each step takes the next token of every running request and, beside them, a
// piece of the prompts that are still to be read (continuous batching, Orca, OSDI 2022, section 3; chunked prefill,
// arXiv 2308.16369). Keys and values lie in blocks of a common pool (arXiv 2309.06180): a request is let in once the
// pool has room for all it may need, so that none has to be thrown out later.
//
// submit, cancel and state may be called from any thread; callbacks run on the thread that makes the steps. No torch in
// here, so that servers need not know it.
//
// With speculation (infer/speculation.h) an answer may take several tokens in a step, the same as without. What holds
// to the bit: on CPUs, in fp32 and bf16, dense or in NF4, rows of one pass have the bits of passes of one row each, and
// no more are made at once than that holds for (kernels/skinny_product.h). Elsewhere rows of several agree with those
// of one up to rounding, as those of other requests do with or without speculation.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/error.h"
#include "infer/answer.h"
#include "infer/speculation.h"

namespace braid {

class Transformer;
struct KeptPast;
struct WholeModel;

struct EngineLimits {
  int64_t running = 16;        // requests that run at once
  int64_t waiting = 256;       // and that wait beside them, when so many run
  int64_t step_tokens = 256;   // prompt tokens that one step reads, of all requests together
  int64_t block_tokens = 16;   // of one block of the cache
  int64_t cache_tokens = 0;    // of the pool; 0: the model's context for each of `running`
  bool share_prefixes = true;  // prompts that begin alike share blocks, also with those that have ended
  SpeculationOptions speculation;
};

enum class RequestOutcome { stop, length, cancelled, timed_out, out_of_memory, failed };

// What is told with a request's last progress.
struct RequestEnd {
  RequestOutcome outcome = RequestOutcome::stop;
  std::string stop_string;                                   // that ended it, "" for none
  std::optional<int64_t> stop_id;                            // likewise
  std::string message;                                       // of out_of_memory and failed: one line
  int64_t prompt_tokens = 0, cached_tokens = 0, tokens = 0;  // of the prompt; of it found in the cache; new ones
  double queue_seconds = 0, prefill_seconds = 0, decode_seconds = 0;
};

// One more token, or the end. Texts of all of them, joined, are the answer's.
struct RequestProgress {
  std::vector<SampledToken> tokens;
  std::string text;
  std::optional<RequestEnd> end;
};

// It may not throw nor wait: all requests wait for it.
using OnProgress = std::function<void(RequestProgress progress)>;

using RequestId = uint64_t;

struct EngineState {
  int64_t running = 0, waiting = 0;
  int64_t blocks = 0, blocks_in_use = 0, blocks_kept = 0;  // of the pool; of running requests; of ended ones' prefixes
  int64_t steps = 0, step_rows = 0;                        // done so far; tokens that went through the model in them
  int64_t prompt_tokens = 0, cached_tokens = 0, new_tokens = 0;
  int64_t proposed_tokens = 0, accepted_tokens = 0;  // by speculation; of them those that answers took
  int64_t outstanding_tokens = 0;                    // that running and waiting requests may still need
  int64_t read_bytes = 0;  // of weights, keys and values, that its steps had to read so far; a draft's are not in it
  int64_t weight_bytes = 0, cache_bytes = 0, workspace_bytes = 0, peak_bytes = 0;  // measured on the model's device
  double warm_up_seconds = 0;
  int64_t recorded_sizes = 0;     // of steps, as CUDA graphs
  std::string recording_problem;  // one line where they could not be recorded, else ""
};

// Later there may be room again.
struct QueueFull : Error {
  using Error::Error;
};

class Engine {
 public:
  // The models and the tokenizer (null: no texts) must outlive it. `draft` is what proposes with Proposer::draft, on
  // the same device. A hash memory is asked while it is on the model, from here to the engine's end. Error: no memory
  // for the pool. UsageError: limits that cannot be, a draft of another vocabulary.
  Engine(Transformer& model, const Tokenizer* tokenizer, const EngineLimits& limits, Transformer* draft = nullptr);
  // The same of a model of which other processes have the rest (infer/step_ranks.h); the draft is here as a whole.
  Engine(Transformer& part, const Tokenizer* tokenizer, const EngineLimits& limits, const WholeModel& whole,
         Transformer* draft = nullptr);
  ~Engine();

  // Something that prompts may stand behind, by name (GenerationRequest::past); in the pool it is shared by all of
  // them. Before the first request. UsageError: the name is taken, it is not of this model's shape, or larger than the
  // pool.
  void add_past(const std::string& name, KeptPast past);

  // UsageError: the request cannot be answered by this model at all, or its options cannot be. QueueFull: as many run
  // and wait as may, together. With a time-out (seconds, 0 for none) it ends after that time, wherever it is.
  RequestId submit(GenerationRequest request, OnProgress on_progress, double timeout_seconds = 0);
  void cancel(RequestId id);  // of one that has ended: nothing

  bool step();                        // one; whether there was anything to do
  void run(std::stop_token stopped);  // steps until told to stop, asleep while there is nothing to do
  // Steps of every number of answers, and prompts of 2, 4, 8 and so on tokens up to a whole step's, once, so that the
  // first request finds everything made. Error: there are requests already.
  void warm_up();

  EngineState state() const;

 private:
  struct Parts;
  void make(Transformer& model, const Tokenizer* tokenizer, const EngineLimits& limits, const WholeModel& whole,
            Transformer* draft);
  std::unique_ptr<Parts> parts_;
};

}  // namespace braid
