// SPDX-License-Identifier: Apache-2.0
// What the server needs of whoever generates: an Engine, or a test's script.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "infer/engine.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace braid {

// submit and cancel behave as those of Engine. All of it may be called from any thread.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual RequestId submit(GenerationRequest request, OnProgress on_progress, double timeout_seconds) = 0;
  virtual void cancel(RequestId id) = 0;
  virtual EngineState state() const = 0;
};

// Compressed contexts that completions may be asked behind (gists).
struct ServedPasts {
  std::map<std::string, int64_t> positions;                          // of each by its name: where a prompt begins
  std::function<std::vector<int64_t>(const std::string&)> question;  // a prompt's tokens; from any thread
};

// What is served. Nothing of it changes.
struct ServedModel {
  std::string name;     // as requests name it
  int64_t context = 0;  // tokens of a prompt and its answer
  int64_t created = 0;  // seconds since 1970
  Tokenizer tokenizer;
  std::optional<ChatTemplate> chat;  // none: conversations are refused
  bool own_specials = false;         // the template writes what begins a text, so that the tokenizer must not
  SamplingOptions sampling;          // of what a request leaves unsaid
  std::vector<int64_t> stop_ids;     // that end an answer
  std::string device, precision;
  ServedPasts pasts;
  std::string device_id = {};  // a GPU's UUID, "" on CPUs
};

using ServedModelPtr = std::shared_ptr<const ServedModel>;

}  // namespace braid
