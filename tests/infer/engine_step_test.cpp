// SPDX-License-Identifier: Apache-2.0
// Rows of many texts at once against the whole text in one forward pass of training.
#include "infer/engine_step.h"

#include <gtest/gtest.h>

#include "../nn/support.h"
#include "../store/thrown.h"
#include "nn/hash_memory.h"
#include "nn/lora_model.h"
#include "nn/quantised_weight.h"

namespace braid {
namespace {

using test::randomise;
using test::small_model;

using Ids = std::vector<int64_t>;

struct Variant {
  const char *dialect, *residual, *form;
  int64_t kv_heads, head_width;
  const char* scaling;
};

ModelConfig config_of(const Variant& variant) {
  ModelConfig config = small_model(variant.dialect, variant.residual);
  config.connection_form = variant.form;
  config.context = 24;
  config.kv_heads = variant.kv_heads;
  config.own_head_width = variant.head_width;
  config.rope.kind = variant.scaling;
  config.rope.factor = 4;
  config.rope.original_context = 6;
  return config;
}

using Remember = std::unique_ptr<HashMemory> (*)(Transformer&);

class Steps {
 public:
  Steps(const ModelConfig& config, Precision precision, Remember remember = nullptr)
      : model(config, precision, at::kCPU) {
    randomise(model, 4, 0.5);
    if (remember) memory = remember(model);
    cache = make_paged_cache(model, 24, 4);
    model.residual().begin_step();
    at::Generator generator = seeded_generator(3);
    ids = at::empty({3, 20}, at::kLong).random_(0, 11, generator);
    expect_the_model();
  }
  void expect_the_model() {
    const at::NoGradGuard no_gradient;
    expected = model.logits(ids);
  }

  // The next `tokens` of a text; texts own blocks 3, 0, 6, … of the pool, from behind.
  StepPiece piece(int64_t text, int64_t tokens, bool wants_logits = true) {
    return piece_with(text, tokens, wants_logits ? 1 : 0);
  }
  // With logits of so many last tokens.
  StepPiece piece_with(int64_t text, int64_t tokens, int64_t logits) {
    StepPiece piece;
    piece.tokens = {ids.const_data_ptr<int64_t>() + 20 * text + read[size_t(text)], size_t(tokens)};
    piece.first = read[size_t(text)];
    piece.blocks = blocks[size_t(text)];
    piece.logits = logits;
    read[size_t(text)] += tokens;
    for (int64_t back = logits; back > 0; --back) wanted.emplace_back(text, read[size_t(text)] - back);
    return piece;
  }
  // The largest distance of the step's logits from those of the whole texts.
  double run(const std::vector<StepPiece>& pieces) {
    const at::Tensor logits = run_step(model, cache, pieces);
    EXPECT_EQ(logits.size(0), int64_t(wanted.size()));
    double most = 0;
    for (size_t w = 0; w < wanted.size(); ++w) {
      const at::Tensor own = expected[wanted[w].first][wanted[w].second];
      most = std::max(most, (logits[int64_t(w)] - own).abs().max().item<double>());
    }
    wanted.clear();
    return most;
  }

  Transformer model;
  std::unique_ptr<HashMemory> memory;
  PagedCache cache;
  at::Tensor ids, expected;  // [3, 20], [3, 20, V]
  Ids read = {0, 0, 0};
  std::vector<Ids> blocks = {{23, 3, 7, 1, 9}, {0, 22, 2, 20, 4}, {5, 6, 21, 8, 10}};
  std::vector<std::pair<int64_t, int64_t>> wanted;
};

class EngineStep : public testing::TestWithParam<Variant> {};

TEST_P(EngineStep, GivesTheLogitsOfTheWholeTextWhateverIsBesideIt) {
  Steps steps(config_of(GetParam()), Precision::fp64);
  EXPECT_LT(steps.run({steps.piece(0, 7)}), 1e-10);                                        // alone, all at once
  EXPECT_LT(steps.run({steps.piece(0, 1), steps.piece(1, 5, false)}), 1e-10);              // beside half a prompt
  EXPECT_LT(steps.run({steps.piece(2, 1), steps.piece(0, 1), steps.piece(1, 6)}), 1e-10);  // beside its other half
  for (int n = 0; n < 9; ++n) {
    EXPECT_LT(steps.run({steps.piece(0, 1), steps.piece(1, 1), steps.piece(2, 2)}), 1e-10);
  }
}

TEST_P(EngineStep, FollowsWholeTextsInFloat32) {
  Steps steps(config_of(GetParam()), Precision::fp32);
  const double bound = 1e-5 * std::max(1.0, steps.expected.abs().max().item<double>());
  EXPECT_LT(steps.run({steps.piece(0, 9), steps.piece(1, 2)}), bound);
  for (int n = 0; n < 9; ++n) EXPECT_LT(steps.run({steps.piece(0, 1), steps.piece(1, 2)}), bound);
}

constexpr Variant variants[] = {
    {"poc", "residual", "poc", 0, 0, "none"},
    {"poc", "mhc", "poc", 0, 0, "none"},
    {"poc", "hc", "poc", 0, 0, "none"},
    {"llama", "residual", "poc", 2, 0, "none"},
    {"llama", "residual", "poc", 1, 10, "llama3"},
    {"llama", "hc", "paper", 4, 0, "none"},
    {"llama", "mhc", "paper", 2, 0, "yarn"},
};
INSTANTIATE_TEST_SUITE_P(All, EngineStep, testing::ValuesIn(variants));

TEST(EngineSteps, WithoutAnyWantedLogitsThereAreNone) {
  Steps steps(config_of(variants[3]), Precision::fp32);
  EXPECT_EQ(run_step(steps.model, steps.cache, std::vector<StepPiece>{steps.piece(0, 3, false)}).size(0), 0);
}

TEST(EngineSteps, APieceGetsTheSameBitsInOneStepAsInAnother) {
  Steps one(config_of(variants[3]), Precision::fp32), other(config_of(variants[3]), Precision::fp32);
  for (Steps* steps : {&one, &other}) steps->run({steps->piece(0, 8), steps->piece(1, 3)});
  const at::Tensor first = run_step(one.model, one.cache, std::vector<StepPiece>{one.piece(0, 1), one.piece(1, 1)});
  const at::Tensor second =
      run_step(other.model, other.cache, std::vector<StepPiece>{other.piece(1, 1), other.piece(0, 1)});
  EXPECT_TRUE(at::equal(first[0], second[1]));
  EXPECT_TRUE(at::equal(first[1], second[0]));
}

// So that proposed tokens can be checked several at a time (infer/speculation.h).
void expect_bits_of_one_by_one(Steps& one, Steps& several) {
  for (Steps* steps : {&one, &several}) steps->run({steps->piece(0, 9), steps->piece(1, 2)});
  for (const int64_t tokens : {4, 7}) {
    std::vector<at::Tensor> rows;
    for (int64_t t = 0; t < tokens; ++t) {
      rows.push_back(run_step(one.model, one.cache, std::vector<StepPiece>{one.piece(0, 1)}));
    }
    const at::Tensor together =
        run_step(several.model, several.cache, std::vector<StepPiece>{several.piece_with(0, tokens, tokens)});
    EXPECT_TRUE(at::equal(together, at::cat(rows))) << tokens << " tokens";
  }
  one.wanted.clear(), several.wanted.clear();
}

TEST_P(EngineStep, SeveralTokensOfATextGetTheBitsOfOneByOne) {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    SCOPED_TRACE(precision == Precision::fp32 ? "fp32" : "bf16");
    Steps one(config_of(GetParam()), precision), several(config_of(GetParam()), precision);
    expect_bits_of_one_by_one(one, several);
  }
}

// Blocks of 64 need rows of a multiple of it.
TEST(EngineSteps, InNf4SeveralTokensOfATextGetTheBitsOfOneByOne) {
  ModelConfig config = config_of(variants[3]);
  config.width = 64, config.mlp_width = 128;
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    SCOPED_TRACE(precision == Precision::fp32 ? "fp32" : "bf16");
    Steps one(config, precision), several(config, precision);
    for (Steps* steps : {&one, &several}) {
      for (Block& block : steps->model.blocks()) {
        for (Linear* layer : {&block.attention.qkv, &block.attention.out, &block.mlp.out}) {
          const std::vector<Nf4Tensor> parts = {quantise_nf4(layer->source->weight(), true)};
          layer->source = std::make_shared<Nf4Weight>(parts, compute_type(precision));
        }
      }
    }
    expect_bits_of_one_by_one(one, several);
  }
}

TEST(EngineSteps, BFloat16StaysNearFloat32) {
  ModelConfig config = config_of(variants[3]);
  Steps narrow(config, Precision::bf16), wide(config, Precision::fp32);
  for (int n = 0; n < 4; ++n) {
    const at::Tensor a =
        run_step(narrow.model, narrow.cache, std::vector<StepPiece>{narrow.piece(0, 4)}).to(at::kFloat);
    const at::Tensor b = run_step(wide.model, wide.cache, std::vector<StepPiece>{wide.piece(0, 4)});
    EXPECT_GT(at::cosine_similarity(a, b).item<double>(), 0.999);
  }
}

TEST(EngineSteps, WithAdaptersSeveralTokensOfATextGetTheBitsOfOneByOne) {
  LoraConfig config;
  config.rank = 5;
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    for (const bool dora : {false, true}) {
      SCOPED_TRACE(str(precision == Precision::fp32 ? "fp32" : "bf16", dora ? ", DoRA" : ""));
      config.dora = dora;
      Steps one(config_of(variants[3]), precision), several(config_of(variants[3]), precision);
      LoraModel first(one.model, config, 5, Weights::frozen), second(several.model, config, 5, Weights::frozen);
      for (LoraModel* lora : {&first, &second}) {
        at::Generator generator = seeded_generator(6);
        for (Parameter& parameter : lora->parameters().all()) parameter.master.normal_(0.0, 0.5, generator);
        lora->parameters().refresh_compute();
      }
      expect_bits_of_one_by_one(one, several);
    }
  }
}

TEST(EngineSteps, AdaptersAndQuantisedWeightsActAsInAWholeText) {
  Steps steps(config_of(variants[3]), Precision::fp32);
  const at::Tensor plain = steps.expected;
  LoraConfig config;
  config.rank = 2;
  LoraModel lora(steps.model, config, 5, Weights::frozen);
  at::Generator generator = seeded_generator(6);
  for (Parameter& parameter : lora.parameters().all()) parameter.master.normal_(0.0, 0.5, generator);
  lora.parameters().refresh_compute();
  for (Block& block : steps.model.blocks()) {
    const std::vector<Nf4Tensor> parts = {quantise_nf4(block.mlp.out.source->weight(), true)};
    block.mlp.out.source = std::make_shared<Nf4Weight>(parts, at::kFloat);
  }
  steps.expect_the_model();
  EXPECT_GT((steps.expected - plain).abs().max().item<double>(), 0.1);
  const double bound = 1e-5 * std::max(1.0, steps.expected.abs().max().item<double>());
  EXPECT_LT(steps.run({steps.piece(0, 9), steps.piece(1, 2)}), bound);
  for (int n = 0; n < 9; ++n) EXPECT_LT(steps.run({steps.piece(0, 1), steps.piece(1, 2)}), bound);
}

// Of three orders, whose convolution looks back over several pieces.
std::unique_ptr<HashMemory> remembering(Transformer& model) {
  HashMemoryConfig config;
  config.layers = {0, 2};
  config.table_size = 12;
  config.width = 6;
  config.heads = 2;
  auto memory = std::make_unique<HashMemory>(model, config, NgramHash(config, distinct_tokens(11), 3, at::kCPU), 3);
  const at::NoGradGuard no_gradient;
  at::Generator generator = seeded_generator(9);
  for (ParameterSet* set : {&memory->parameters(), &memory->table()}) {
    for (Parameter& p : set->all()) p.master.add_(at::empty_like(p.master).normal_(0.0, 0.5, generator));
    set->refresh_compute();
  }
  return memory;
}

TEST(EngineSteps, AHashMemoryLooksBackInEachTextWhateverIsBesideIt) {
  for (const Variant& variant : {variants[3], Variant{"llama", "mhc", "poc", 2, 0, "none"}, variants[6]}) {
    Steps steps(config_of(variant), Precision::fp64, &remembering);
    EXPECT_LT(steps.run({steps.piece(0, 2), steps.piece(1, 7, false)}), 1e-10);
    EXPECT_LT(steps.run({steps.piece(2, 1), steps.piece(0, 3), steps.piece(1, 1)}), 1e-10);
    for (int n = 0; n < 9; ++n) {
      EXPECT_LT(steps.run({steps.piece(0, 1), steps.piece(1, 1), steps.piece_with(2, 2, 2)}), 1e-10);
    }
  }
}

TEST(EngineSteps, APoolThatDoesNotFitIsAnErrorThatSaysHowLarge) {
  Transformer model(config_of(variants[3]), Precision::fp32, at::kCPU);
  EXPECT_EQ(thrown_message([&] { make_paged_cache(model, int64_t{1} << 36, 16); }),
            "no memory on cpu for keys and values of 1099511627776 tokens, 196608 GiB");
}

}  // namespace
}  // namespace braid
