// SPDX-License-Identifier: Apache-2.0
#include "models/memory_folder.h"

#include <gtest/gtest.h>

#include "../nn/remembering.h"
#include "../store/temp_folder.h"
#include "../store/thrown.h"

namespace braid {
namespace {

using test::Remembering;
using test::small_model;

ModelConfig with_streams(int64_t streams) {
  ModelConfig config = small_model("llama", "mhc");
  config.streams = streams;
  return config;
}

TEST(MemoryFolder, GivesTheMemoryOfStreamsBack) {
  const TempFolder folder;
  Remembering first(with_streams(3)), other(with_streams(3), Weights::frozen, false);
  write_memory_folder(folder.path(), first.model.config(), first.memory);
  const auto again = load_memory_folder(folder.path(), other.model);
  EXPECT_EQ(other.model.block_input(), again.get());
  ASSERT_EQ(again->parameters().all().size(), 2u * (1 + 3 * 5));
  for (Parameter& p : first.memory.parameters().all())
    EXPECT_LT((again->parameters().named(p.name).master - p.master).abs().max().item<double>(), 1e-6) << p.name;
  EXPECT_LT((again->rows().master - first.memory.rows().master).abs().max().item<double>(), 1e-6);
}

TEST(MemoryFolder, OfOtherStreamsThanTheModelsIsRefused) {
  const TempFolder folder, plain_folder;
  Remembering three(with_streams(3)), plain;
  write_memory_folder(folder.path(), three.model.config(), three.memory);
  write_memory_folder(plain_folder.path(), plain.model.config(), plain.memory);
  const auto refusal = [](const TempFolder& from, const ModelConfig& config) {
    Transformer model(config, Precision::fp64, at::kCPU, Weights::frozen);
    return thrown_message([&] { load_memory_folder(from.path(), model); });
  };
  const std::string where = folder.path() + "/memory_config.json: streams: expected ";
  EXPECT_EQ(refusal(folder, with_streams(4)), where + "the model's 4, found 3");
  EXPECT_EQ(refusal(folder, plain.model.config()), where + "none, since the model keeps one stream, found 3");
  EXPECT_TRUE(contains(refusal(plain_folder, with_streams(4)), "streams: expected the model's 4, found nothing"));
}

}  // namespace
}  // namespace braid
