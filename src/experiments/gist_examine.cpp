// SPDX-License-Identifier: Apache-2.0
#include "experiments/gist_examine.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/error.h"
#include "nn/kernel_call.h"
#include "nn/precompiled.h"

namespace braid {

namespace {

using Json = nlohmann::json;

constexpr int64_t most_at_once = 64;

at::Tensor rows_of(const std::vector<const std::vector<int64_t>*>& rows, const at::Device& device) {
  const auto length = static_cast<int64_t>(rows.front()->size());
  at::Tensor ids = at::empty({std::ssize(rows), length}, at::kLong);
  for (size_t b = 0; b < rows.size(); ++b) {
    std::copy(rows[b]->begin(), rows[b]->end(), ids.mutable_data_ptr<int64_t>() + static_cast<int64_t>(b) * length);
  }
  return ids.to(device);
}

// The question that comes next, round the set.
int64_t next_of(const QuestionSet& set, int64_t index) { return set.size > 0 ? (index + 1) % set.size : index + 1; }

bool are_alike(const Question& a, const Question& b) {
  return a.context.size() == b.context.size() && a.question.size() == b.question.size();
}

// `questions` and the one that comes next.
AskedBatch batch_of(std::vector<Question> questions, const Question& next, const at::Device& device) {
  std::vector<const std::vector<int64_t>*> contexts, asked, others;
  for (size_t b = 0; b < questions.size(); ++b) {
    contexts.push_back(&questions[b].context);
    asked.push_back(&questions[b].question);
    others.push_back(b + 1 < questions.size() ? &questions[b + 1].context : &next.context);
  }
  AskedBatch batch{{}, rows_of(contexts, device), rows_of(asked, device), rows_of(others, device)};
  batch.questions = std::move(questions);
  return batch;
}

// What one rank finds, to be put together: sums for each system, and its answers.
struct Record {
  double stored_positions = 0, stored_bytes = 0, read_positions = 0, read_bytes = 0, compressing = 0, answering = 0;
  Json answers = Json::array();
};

Json json_of(const Question& question, const std::vector<int64_t>& tokens, const JudgedAnswer& judged) {
  return {question.index,
          question.context.size(),
          question.depth.value_or(-1.0),
          tokens,
          judged.expected,
          judged.answer,
          judged.score.strict,
          judged.score.contains,
          judged.score.recall,
          judged.score.characters,
          static_cast<int>(judged.kind)};
}

GistAnswer answer_of(const Json& json) {
  GistAnswer answer{json[0].get<int64_t>(), json[1].get<int64_t>(), {}, json[3].get<std::vector<int64_t>>(), {}};
  if (const double depth = json[2].get<double>(); depth >= 0) answer.depth = depth;
  answer.judged = {json[4].get<std::string>(),
                   json[5].get<std::string>(),
                   {json[6].get<bool>(), json[7].get<bool>(), json[8].get<double>(), json[9].get<double>()},
                   static_cast<AnswerKind>(json[10].get<int>())};
  return answer;
}

void ask(const GistSystem& system, const QuestionSet& set, const AskedBatch& batch, Record& record) {
  const auto count = double(batch.questions.size());
  const at::Device device = batch.context.device();
  const Stopwatch compressing;
  const KeptContexts kept = system.compress(batch);
  wait_for(device);
  record.compressing += compressing.seconds();
  const Stopwatch answering;
  const SystemReply reply = kept.answer();
  wait_for(device);
  record.answering += answering.seconds();
  record.stored_positions += kept.stored_positions * count;
  record.stored_bytes += kept.stored_bytes * count;
  record.read_positions += reply.read_positions * count;
  record.read_bytes += reply.read_bytes * count;
  for (size_t b = 0; b < batch.questions.size(); ++b) {
    const Question& question = batch.questions[b];
    record.answers.push_back(json_of(question, reply.tokens[b], set.judge(question, reply.tokens[b])));
  }
}

// Calls `act` with this rank's questions, as many together as are alike and fit.
void for_each_batch(const QuestionSet& set, Slice mine, int64_t tokens_at_once, const at::Device& device,
                    const std::function<void(const AskedBatch&)>& act) {
  std::vector<Question> alike;
  for (int64_t i = 0; i < mine.count; ++i) {
    const int64_t index = mine.first + i;
    if (alike.empty()) alike.push_back(set.question(index));
    Question next = set.question(next_of(set, index));
    const auto tokens = static_cast<int64_t>(next.context.size() + next.question.size());
    const int64_t fit = std::clamp<int64_t>(tokens_at_once / tokens, 1, most_at_once);
    const bool goes_on = i + 1 < mine.count && next.index == index + 1 && std::ssize(alike) < fit;
    if (goes_on && are_alike(alike.front(), next)) {
      alike.push_back(std::move(next));
      continue;
    }
    // Controls read contexts of others as a block: the last of some that are alike may not have one.
    if (alike.size() > 1 && next.context.size() != alike.front().context.size()) {
      const Question last = alike.back();
      alike.pop_back();
      act(batch_of(std::move(alike), last, device));
      act(batch_of({last}, next, device));
    } else {
      act(batch_of(std::move(alike), next, device));
    }
    alike.clear();
  }
}

Json to_json(const std::vector<Record>& records) {
  Json list = Json::array();
  for (const Record& r : records) {
    list.push_back({r.stored_positions, r.stored_bytes, r.read_positions, r.read_bytes, r.compressing, r.answering,
                    r.answers});
  }
  return list;
}

void add_from(const Json& json, SystemResult& result) {
  result.stored_positions += json[0].get<double>();
  result.stored_bytes += json[1].get<double>();
  result.read_positions += json[2].get<double>();
  result.read_bytes += json[3].get<double>();
  result.compress_seconds += json[4].get<double>();
  result.answer_seconds += json[5].get<double>();
  for (const Json& answer : json[6]) result.answers.push_back(answer_of(answer));
}

void divide_by(SystemResult& result, double count) {
  for (double* sum : {&result.stored_positions, &result.stored_bytes, &result.read_positions, &result.read_bytes,
                      &result.compress_seconds, &result.answer_seconds}) {
    *sum /= count;
  }
}

}  // namespace

AnswerTally SystemResult::tally() const {
  AnswerTally tally;
  for (const GistAnswer& answer : answers) tally.add(answer.judged.score, answer.judged.kind);
  return tally;
}

double SystemResult::context_tokens() const {
  double tokens = 0;
  for (const GistAnswer& answer : answers) tokens += double(answer.context_tokens);
  return answers.empty() ? 0 : tokens / double(answers.size());
}

AskedBatch asked_batch(const QuestionSet& set, Slice questions, const at::Device& device) {
  std::vector<Question> all;
  for (int64_t i = 0; i < questions.count; ++i) {
    const int64_t index = questions.first + i;
    all.push_back(set.question(set.size > 0 ? index % set.size : index));
    if (!are_alike(all.front(), all.back())) throw UsageError(str(set.name, ": contexts are of different lengths"));
  }
  const Question next = all.front();
  return batch_of(std::move(all), next, device);
}

std::vector<SystemResult> examine(const std::vector<GistSystem>& systems, const QuestionSet& set, Slice questions,
                                  int64_t tokens_at_once, const at::Device& device, Communicator& comm) {
  const at::NoGradGuard no_gradient;
  Slice mine = slice_of(questions.count, comm.rank(), comm.size());
  mine.first += questions.first;
  std::vector<Record> records(systems.size());
  for_each_batch(set, mine, tokens_at_once, device, [&](const AskedBatch& batch) {
    for (size_t s = 0; s < systems.size(); ++s) ask(systems[s], set, batch, records[s]);
  });
  std::vector<SystemResult> results(systems.size());
  for (const std::string& text : gather_texts(comm, to_json(records).dump())) {
    const Json all = Json::parse(text);
    for (size_t s = 0; s < systems.size(); ++s) add_from(all[s], results[s]);
  }
  for (size_t s = 0; s < systems.size(); ++s) {
    results[s].system = systems[s].name;
    divide_by(results[s], double(std::max<int64_t>(questions.count, 1)));
  }
  return results;
}

}  // namespace braid
