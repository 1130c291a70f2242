// SPDX-License-Identifier: Apache-2.0
// First values of a model that is spread before it has any: those of one rank that draws them all, in a part of the memory.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <tuple>

#include "../nn/support.h"
#include "../train/counting_allocator.h"
#include "mpi_world.h"
#include "nn/initialise.h"
#include "parallel/sharded_set.h"

namespace braid {
namespace {

using test::world;

void draw(Transformer& model, const StoreValues& elsewhere) {
  at::Generator generator = seeded_generator(5);
  model.config().is_llama() ? initialise_llama(model, 5, elsewhere) : initialise_poc(model, generator, model.config(), elsewhere);
}

// A model whose ranks draw a part each.
struct Spread {
  Spread(const ModelConfig& config, Precision precision, Sharding sharding)
      : model(config, precision, at::kCPU, Weights::elsewhere),
        groups({world().host(), world().host()}, 0),
        set(model.parameters(), sharding, groups) {
    draw(model, [&](Parameter& parameter, const at::Tensor& values) { set.weights().store(parameter, values); });
    set.weights().publish();
    set.weights().arrive();
  }
  Transformer model;
  ShardGroups groups;
  ShardedSet set;
};

class FirstValues : public testing::TestWithParam<std::tuple<const char*, const char*, Precision, Sharding>> {};

TEST_P(FirstValues, AreThoseOfOneRank) {
  const auto& [dialect, residual, precision, sharding] = GetParam();
  const ModelConfig config = test::small_model(dialect, residual);
  Transformer whole(config, precision, at::kCPU);
  draw(whole, {});
  Spread spread(config, precision, sharding);
  for (const bool of_all : {false, true}) {
    for (const UpdateRange& range : spread.set.ranges(of_all)) {
      for (const ParameterPart& part : range.parts) {
        const at::Tensor expected = whole.parameters().named(part.parameter->name).master.flatten();
        EXPECT_TRUE(at::equal(range.weights.narrow(0, part.offset, part.count), expected.narrow(0, part.first, part.count)))
            << part.parameter->name;
      }
    }
  }
  if (sharding == Sharding::parameters) return;
  for (const Parameter& parameter : spread.model.parameters().all()) {
    EXPECT_TRUE(at::equal(parameter.compute, whole.parameters().named(parameter.name).compute)) << parameter.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, FirstValues,
                         testing::Combine(testing::Values("poc", "llama"), testing::Values("residual", "mhc"),
                                          testing::Values(Precision::fp32, Precision::bf16),
                                          testing::Values(Sharding::optimizer, Sharding::gradients, Sharding::parameters)));

// Beside its parts a rank holds one parameter's values and the memory that is lent for them.
TEST(FirstValuesMemory, IsThatOfAPart) {
  ModelConfig config = test::small_model("llama", "residual");
  config.layers = 8;
  config.width = 128;
  config.mlp_width = 256;
  config.vocabulary = 64;
  const int64_t ranks = world().size();
  int64_t elements = 0, largest = 0, vectors = 0;
  test::CountingAllocator memory;
  Spread spread(config, Precision::fp32, Sharding::parameters);
  for (const Parameter& parameter : spread.model.parameters().all()) {
    elements += parameter.elements();
    largest = std::max(largest, parameter.elements());
    if (parameter.shape.size() == 1) vectors += parameter.elements();
  }
  const double parts = 2.0 * 4 * double((elements - vectors) / ranks + 2 * vectors);  // weights and gradients
  EXPECT_LT(double(memory.peak()), 1.05 * parts + 2.0 * 4 * double(largest) + 65536);
  testing::Test::RecordProperty("bytes", std::to_string(memory.peak()) + " of " + std::to_string(8 * elements));
}

}  // namespace
}  // namespace braid
