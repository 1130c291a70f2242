// SPDX-License-Identifier: Apache-2.0
#include "experiments/gist_evaluate.h"

#include <algorithm>
#include <functional>

#include "base/clock.h"
#include "base/error.h"
#include "data/passkey_task.h"
#include "experiments/gist_answers.h"
#include "infer/decode.h"
#include "nn/precompiled.h"
#include "parallel/gradient_reducer.h"
#include "train/evaluate.h"

namespace braid {

using namespace passkey;

namespace {

constexpr int64_t answer_tokens = question_tokens;

// One group of samples that is answered together.
struct Group {
  at::Tensor context, question;  // [B, n], [B, 1]
  at::Tensor gists, next_gists;  // [B, L, 2, H_kv, G k, d]: its own, and of each next sample
  std::vector<int64_t> needles;  // where they begin
};

struct System {
  std::string name;
  std::function<at::Tensor(const Group&)> answer;  // [B, 6]
  int64_t read_tokens = 0;
};

// The raw tokens [B, T] through the model as it is, over a cache.
at::Tensor decode_raw(Transformer& model, const at::Tensor& tokens) {
  KvCache cache = make_kv_cache(model, std::vector<int64_t>(static_cast<size_t>(tokens.size(0)), 0),
                                tokens.size(1) + answer_tokens);
  model.residual().begin_step();
  std::vector<at::Tensor> answer;
  at::Tensor next = tokens;
  for (int64_t i = 0; i < answer_tokens; ++i) answer.push_back(next = decode(model, cache, next).argmax(-1, true));
  return at::cat(answer, 1);
}

at::Tensor search(const at::Tensor& context) {
  const at::Tensor text = context.cpu().contiguous();
  at::Tensor found = at::full({text.size(0), answer_tokens}, -1, at::kLong);
  for (int64_t b = 0; b < text.size(0); ++b) {
    const int64_t* row = text.const_data_ptr<int64_t>() + b * text.size(1);
    for (int64_t t = 0; t + needle_tokens <= text.size(1); ++t) {
      if (row[t] == mark && row[t + needle_tokens - 1] == end) found[b].copy_(text[b].narrow(0, t + 1, answer_tokens));
    }
  }
  return found;
}

// The segment of each sample in which its needle is whole.
at::Tensor needle_segments(const Group& group, const SegmentPlan& plan) {
  std::vector<at::Tensor> rows;
  for (size_t b = 0; b < group.needles.size(); ++b) {
    const auto holds = [&](int64_t start) {
      return start <= group.needles[b] && group.needles[b] + needle_tokens <= start + plan.length;
    };
    const auto at = std::find_if(plan.starts.begin(), plan.starts.end(), holds);
    const int64_t start = at == plan.starts.end() ? plan.starts.back() : *at;
    rows.push_back(group.context[static_cast<int64_t>(b)].narrow(0, start, plan.length));
  }
  return at::stack(rows);
}

std::vector<System> systems_of(AdaptedModel& loaded, const SegmentPlan& plan, int64_t length, bool full) {
  GistModel& gists = *loaded.gists;
  Transformer& model = *loaded.model;
  const int64_t kept = plan.segments() * gists.count(), position = plan.length + gists.count();
  const auto behind = [&gists, position](const at::Tensor& past, const Group& group) {
    return decode_answers(gists, past_of_gists(past, position), group.question, answer_tokens);
  };
  const auto raw = [&model](const at::Tensor& context, const Group& group) {
    return decode_raw(model, at::cat({context, group.question}, 1));
  };
  std::vector<System> systems = {
      {"gist", [=](const Group& g) { return behind(g.gists, g); }, kept},
      {"shuffled", [=](const Group& g) { return behind(g.next_gists, g); }, kept},
      {"none", [=](const Group& g) { return behind(g.gists.narrow(4, 0, 0), g); }, 0},
      {"truncated",
       [=](const Group& g) {
         return raw(g.context.narrow(1, length - std::min(kept, length), std::min(kept, length)), g);
       },
       std::min(kept, length)},
      {"oracle", [=, &gists](const Group& g) { return behind(gists.compress(needle_segments(g, plan)), g); },
       gists.count()},
      {"search", [](const Group& g) { return search(g.context); }, length}};
  if (full) systems.push_back({"full", [=](const Group& g) { return raw(g.context, g); }, length});
  return systems;
}

std::vector<std::vector<int64_t>> rows_of(const at::Tensor& table) {
  std::vector<std::vector<int64_t>> rows;
  const at::Tensor values = table.contiguous();
  for (int64_t i = 0; i < values.size(0); ++i) {
    const int64_t* row = values.const_data_ptr<int64_t>() + i * values.size(1);
    rows.emplace_back(row, row + values.size(1));
  }
  return rows;
}

// Bytes of one position's keys and values in all layers.
int64_t position_bytes(Transformer& model) {
  const ModelConfig& c = model.config();
  const int64_t element = at::elementSize(compute_type(model.parameters().precision()));
  return 2 * c.layers * c.key_value_width() * element;
}

// Answers of some systems to samples of one task, this rank's part of them at a time.
class Examination {
 public:
  Examination(AdaptedModel& loaded, const PasskeyTask& data, const SegmentPlan& plan, Communicator& comm)
      : loaded_(loaded), data_(data), plan_(plan), comm_(comm) {}

  std::vector<GistLine> run(const std::vector<System>& systems, Slice samples) {
    first_ = samples.first;
    const Slice mine = slice_of(samples.count, comm_.rank(), comm_.size());
    at::Tensor all = at::zeros({std::ssize(systems) + 1, samples.count, answer_tokens}, at::kLong);
    std::vector<double> seconds(systems.size(), 0.0);
    for (int64_t done = 0; done < mine.count; done += at_once()) {
      answer_group(systems, {first_ + mine.first + done, std::min(at_once(), mine.count - done)}, all, seconds);
    }
    comm_.all_reduce(buffer_of(all), ReduceOp::sum).wait();
    std::vector<GistLine> lines;
    for (size_t s = 0; s < systems.size(); ++s) {
      const int64_t tokens = systems[s].read_tokens;
      lines.push_back({systems[s].name, data_.shape().context, data_.shape().depth, first_,
                       rows_of(all[static_cast<int64_t>(s) + 1]), rows_of(all[0]), tokens,
                       tokens * position_bytes(*loaded_.model), seconds[s]});
    }
    return lines;
  }

 private:
  int64_t at_once() const { return std::clamp<int64_t>(16384 / data_.length(), 1, 64); }

  // One more is compressed than is asked for, so that each has a next one.
  void answer_group(const std::vector<System>& systems, Slice samples, at::Tensor& all, std::vector<double>& seconds) {
    const int64_t length = data_.shape().context, count = samples.count;
    const Batch batch = gather(data_, samples.first, count + 1);
    const at::Tensor tokens = token_tensor(batch.tokens, batch, 0, count + 1, loaded_.model->device());
    const at::Tensor asked = tokens.narrow(0, 0, count);
    Group group{asked.narrow(1, 0, length), asked.narrow(1, length, 1), {}, {}, {}};
    for (int64_t i = 0; i < count; ++i) group.needles.push_back(data_.needle_start(samples.first + i));
    const Stopwatch compressing;
    group.gists = compress_texts(*loaded_.gists, group.context, plan_);
    seconds[0] += compressing.seconds();  // the first system is gist
    const at::Tensor last = compress_texts(*loaded_.gists, tokens.narrow(0, count, 1).narrow(1, 0, length), plan_);
    group.next_gists = at::cat({group.gists.narrow(0, 1, count - 1), last});
    const auto put = [&](int64_t row, const at::Tensor& answers) {
      all[row].narrow(0, samples.first - first_, samples.count).copy_(answers.cpu());
    };
    put(0, token_tensor(batch.targets, batch, 0, count, at::kCPU).narrow(1, length, answer_tokens));
    for (size_t s = 0; s < systems.size(); ++s) {
      const Stopwatch watch;
      put(static_cast<int64_t>(s) + 1, systems[s].answer(group));
      seconds[s] += watch.seconds();
    }
  }

  AdaptedModel& loaded_;
  const PasskeyTask& data_;
  const SegmentPlan& plan_;
  Communicator& comm_;
  int64_t first_ = 0;  // sample of the first line
};

}  // namespace

int64_t GistLine::right() const {
  int64_t count = 0;
  for (size_t i = 0; i < answers.size(); ++i) count += answers[i] == expected[i];
  return count;
}

double GistLine::digits() const {
  int64_t count = 0;
  for (size_t i = 0; i < answers.size(); ++i) {
    for (int64_t d = 0; d < key_digits; ++d) count += answers[i][d] == expected[i][d];
  }
  return answers.empty() ? 0 : double(count) / double(key_digits * std::ssize(answers));
}

std::vector<GistLine> evaluate_gists(AdaptedModel& loaded, const GistConfig& gist, const GistTest& test, uint64_t seed,
                                     Communicator& comm) {
  const at::NoGradGuard no_gradient;
  if (!loaded.gists) throw UsageError(str(loaded.checkpoint, ": expected a run with [gist], whose model compresses"));
  std::vector<GistLine> lines;
  for (const int64_t length : test.lengths) {
    const SegmentPlan plan = plan_segments(length, test.segment > 0 ? test.segment : gist.segment, gist.overlap);
    std::vector<System> systems = systems_of(loaded, plan, length, test.full);
    int64_t next = 0;  // every cell has samples of its own
    const auto examine = [&](std::optional<double> depth) {
      const PasskeyTask data({length, seed, Split::held_out, test.distractors, depth});
      Examination examination(loaded, data, plan, comm);
      for (GistLine& line : examination.run(systems, {next, test.limit})) lines.push_back(std::move(line));
      next += test.limit;
    };
    examine({});
    systems.resize(1);
    for (const double depth : test.depths) examine(depth);
  }
  return lines;
}

}  // namespace braid
