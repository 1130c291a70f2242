// SPDX-License-Identifier: Apache-2.0
#include "serve/completion_reply.h"

#include <ctime>
#include <utility>

#include "serve/completion_logprobs.h"

namespace braid {

namespace {

using nlohmann::ordered_json;

// What has come of one answer.
struct Written {
  std::string text;
  std::vector<SampledToken> tokens;
  size_t characters = 0;  // of the tokens told so far: where the next one begins
  bool begun = false;     // a first piece is told
};

class CompletionWriter final : public AnswerWriter {
 public:
  CompletionWriter(ServedModelPtr model, Completion completion, size_t answers, const std::string& request_id)
      : model_(std::move(model)),
        completion_(std::move(completion)),
        id_((completion_.chat ? "chatcmpl-" : "cmpl-") + request_id),
        created_(std::time(nullptr)),
        all_(answers),
        ends_(answers) {}

  void begin(Call& call) override;
  void progress(Call& call, size_t answer, const RequestProgress& progress) override;
  void end(Call& call) override;
  void fail(Call& call, const Refusal& why) override;

 private:
  ordered_json head(const char* object) const;
  ordered_json usage() const;
  ordered_json logprobs(Written& one, const std::vector<SampledToken>& tokens) const;
  ordered_json chat_piece(Written& one, const RequestProgress& progress) const;
  ordered_json text_piece(Written& one, size_t answer, const RequestProgress& progress) const;
  ordered_json whole_choice(size_t answer);
  std::string echo(size_t answer) const;
  void tell(Call& call, ordered_json choices, const ordered_json& used) const;

  ServedModelPtr model_;
  Completion completion_;
  std::string id_;
  int64_t created_;
  std::vector<Written> all_;
  std::vector<RequestEnd> ends_;
  bool begun_ = false;
};

const char* finish_reason(const RequestEnd& end) { return end.outcome == RequestOutcome::length ? "length" : "stop"; }

ordered_json CompletionWriter::head(const char* object) const {
  return {{"id", id_}, {"object", object}, {"created", created_}, {"model", model_->name}};
}

// A prompt counts once, however many answers it has.
ordered_json CompletionWriter::usage() const {
  int64_t prompt = 0, cached = 0, tokens = 0;
  for (size_t i = 0; i < ends_.size(); ++i) {
    tokens += ends_[i].tokens;
    if (i % static_cast<size_t>(completion_.answers) != 0) continue;
    prompt += ends_[i].prompt_tokens;
    cached += ends_[i].cached_tokens;
  }
  return {{"prompt_tokens", prompt},
          {"completion_tokens", tokens},
          {"total_tokens", prompt + tokens},
          {"prompt_tokens_details", {{"cached_tokens", cached}}}};
}

std::string CompletionWriter::echo(size_t answer) const {
  if (completion_.echoed.empty()) return "";
  return completion_.echoed[answer / static_cast<size_t>(completion_.answers)];
}

ordered_json CompletionWriter::logprobs(Written& one, const std::vector<SampledToken>& tokens) const {
  if (!completion_.logprobs) return nullptr;
  if (completion_.chat) return chat_logprobs(model_->tokenizer, tokens);
  return text_logprobs(model_->tokenizer, tokens, one.characters);
}

void CompletionWriter::begin(Call& call) {
  if (!completion_.stream) return;
  begun_ = true;
  call.begin_events();
  if (!completion_.chat) return;
  for (size_t i = 0; i < all_.size(); ++i) {
    const ordered_json first = {{"role", "assistant"}, {"content", ""}};
    tell(call, {{{"index", i}, {"delta", first}, {"logprobs", nullptr}, {"finish_reason", nullptr}}}, nullptr);
  }
}

void CompletionWriter::tell(Call& call, ordered_json choices, const ordered_json& used) const {
  ordered_json chunk = head(completion_.chat ? "chat.completion.chunk" : "text_completion");
  chunk["choices"] = std::move(choices);
  if (completion_.include_usage) chunk["usage"] = used;
  call.event(chunk);
}

ordered_json CompletionWriter::chat_piece(Written& one, const RequestProgress& progress) const {
  ordered_json delta = ordered_json::object();
  if (!progress.text.empty()) delta["content"] = progress.text;
  return {{"delta", delta}, {"logprobs", progress.tokens.empty() ? nullptr : logprobs(one, progress.tokens)}};
}

ordered_json CompletionWriter::text_piece(Written& one, size_t answer, const RequestProgress& progress) const {
  const std::string text = (one.begun ? "" : echo(answer)) + progress.text;
  return {{"text", text}, {"logprobs", progress.tokens.empty() ? nullptr : logprobs(one, progress.tokens)}};
}

void CompletionWriter::progress(Call& call, size_t answer, const RequestProgress& progress) {
  Written& one = all_[answer];
  if (progress.end) ends_[answer] = *progress.end;
  if (!completion_.stream) {
    one.text += progress.text;
    if (completion_.logprobs) one.tokens.insert(one.tokens.end(), progress.tokens.begin(), progress.tokens.end());
    return;
  }
  if (progress.text.empty() && !progress.end && !completion_.logprobs) return;
  ordered_json choice = {{"index", answer}};
  choice.update(completion_.chat ? chat_piece(one, progress) : text_piece(one, answer, progress));
  choice["finish_reason"] = progress.end ? ordered_json(finish_reason(*progress.end)) : ordered_json(nullptr);
  one.begun = true;
  ordered_json choices = ordered_json::array();
  choices.push_back(std::move(choice));
  tell(call, std::move(choices), nullptr);
}

ordered_json CompletionWriter::whole_choice(size_t answer) {
  Written& one = all_[answer];
  ordered_json choice = {{"index", answer}};
  if (completion_.chat) {
    choice["message"] = {{"role", "assistant"}, {"content", one.text}, {"refusal", nullptr}};
  } else {
    choice["text"] = echo(answer) + one.text;
  }
  choice["logprobs"] = logprobs(one, one.tokens);
  choice["finish_reason"] = finish_reason(ends_[answer]);
  return choice;
}

void CompletionWriter::end(Call& call) {
  if (completion_.stream) {
    if (completion_.include_usage) tell(call, ordered_json::array(), usage());
    call.raw_event("[DONE]");
    return call.end_events();
  }
  ordered_json reply = head(completion_.chat ? "chat.completion" : "text_completion");
  reply["choices"] = ordered_json::array();
  for (size_t i = 0; i < all_.size(); ++i) reply["choices"].push_back(whole_choice(i));
  reply["usage"] = usage();
  call.reply(json_reply(reply));
}

void CompletionWriter::fail(Call& call, const Refusal& why) {
  if (!begun_) return call.reply(reply_of(why));
  call.event(error_object(why));
  call.raw_event("[DONE]");
  call.end_events();
}

}  // namespace

Generation completion_generation(ServedModelPtr model, Completion completion, const std::string& request_id) {
  Generation generation{std::exchange(completion.requests, {}), nullptr};
  const size_t answers = generation.requests.size();
  generation.writer = std::make_shared<CompletionWriter>(std::move(model), std::move(completion), answers, request_id);
  return generation;
}

}  // namespace braid
