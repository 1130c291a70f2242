// SPDX-License-Identifier: Apache-2.0
#include "experiments/task_data.h"

#include "base/error.h"
#include "comm/agreement.h"
#include "data/byte_shards.h"
#include "data/incrementing_tokens.h"
#include "data/token_shard.h"
#include "experiments/fine_tuning.h"
#include "experiments/gist_tasks.h"
#include "nn/initialise.h"
#include "nn/precompiled.h"
#include "store/crc32c.h"

namespace braid {

namespace {

// Where the shards are, after rank 0 has built them from a folder of text if need be.
std::string prepare_shards(const RunConfig& config, const std::string& run_folder, Communicator& host, bool goes_on) {
  const DataConfig& data = config.data;
  if (!data.reads_shards()) return "";
  const std::string folder = run_folder + "/data";
  if (goes_on && data.kind == "bytes" && holds_shards(folder)) return folder;
  agree_on_root(host, [&] {
    if (data.path.empty()) throw UsageError("data.path: expected a folder of text or of token shards, found nothing");
    if (data.kind == "tokens" && !holds_shards(data.path)) {
      throw UsageError(str("data.path: ", data.path, " holds no train.h5; make it with braid data tokens or bytes, or set data.kind"));
    }
  });
  if (holds_shards(data.path)) return data.path;
  agree_on_root(host, [&] { build_byte_shards(data.path, folder, {data.held_out_fraction, TextFolderOptions().extensions}); });
  return folder;
}

std::unique_ptr<Dataset> incrementing(const RunConfig& config, at::Generator generator) {
  const auto draw = [generator](int64_t bound) mutable {
    return at::empty({1}, at::kLong).random_(0, bound, generator).item<int64_t>();
  };
  return std::make_unique<IncrementingTokens>(config.model.vocabulary, config.model.context, draw);
}

std::string digest_of(const std::string& shard) { return digest_text(read_token_shard_info(shard).crc); }

}  // namespace

TaskData open_task_data(const RunConfig& config, const std::string& run_folder, Communicator& host, bool goes_on) {
  TaskData data;
  data.generator = seeded_generator(config.train.seed);
  data.digest = "generated:" + config.data.kind;
  if (config.data.kind == "incrementing") {
    data.train = incrementing(config, data.generator);
    return data;
  }
  if (config.gist.enabled()) {
    agree(host, [&] {
      const GistTasks tasks(config);
      tasks.check_phases();
      data.train = tasks.open_held_out(Split::train);
      data.held_out = tasks.open_held_out();
      data.digest = tasks.digest();
    });
    return data;
  }
  if (config.data.kind == "examples") {
    agree(host, [&] {
      FineTuningData examples = open_fine_tuning(config);
      data.train = std::move(examples.train);
      data.held_out = std::move(examples.held_out);
      data.digest = examples.digest;
    });
    return data;
  }
  const std::string shards = prepare_shards(config, run_folder, host, goes_on);
  const DataShape shape{config.model.context, config.model.vocabulary, static_cast<uint64_t>(config.train.seed)};
  agree(host, [&] {
    data.train = open_dataset(config.data, shape, Split::train, shards);
    data.held_out = open_dataset(config.data, shape, Split::held_out, shards);
    if (!shards.empty()) data.digest = digest_of(shards + "/train.h5");
  });
  return data;
}

namespace {

int64_t samples_of_epoch(const RunConfig& config) {
  const DataConfig& data = config.data;
  if (data.kind == "examples") return open_fine_tuning(config).train->epoch_size();
  if (data.reads_shards() && holds_shards(data.path)) {
    const DataShape shape{config.model.context, config.model.vocabulary, static_cast<uint64_t>(config.train.seed)};
    return open_dataset(data, shape, Split::train, data.path)->epoch_size();
  }
  throw UsageError(str("train.epochs: needs data that ends, examples or a folder of shards; data.kind is \"", data.kind,
                       "\"; set train.steps instead"));
}

}  // namespace

void follow_epochs(RunConfig& config) {
  TrainConfig& train = config.train;
  if (train.epochs == 0) return;
  train.steps = train.epochs * ((samples_of_epoch(config) + train.batch - 1) / train.batch);
}

void initialise(Transformer& model, const RunConfig& config, TaskData& data) {
  if (config.model.is_llama()) {
    initialise_llama(model, config.train.seed);
  } else {
    initialise_poc(model, data.generator, config.model);
  }
}

}  // namespace braid
