// SPDX-License-Identifier: Apache-2.0
#include "models/hf_config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "../store/thrown.h"
#include "models/hf_layout.h"

namespace braid {
namespace {

using nlohmann::json;

HfConfig parse(const json& config, const json& generation = nullptr) {
  return parse_hf_config(config.dump(), generation.is_null() ? "" : generation.dump(), "DIR");
}

std::string refusal(const json& config) {
  try {
    parse(config);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "taken";
}

// As published with the three models (HuggingFaceTB/SmolLM-135M-Instruct, TinyLlama/TinyLlama-1.1B-Chat-v1.0,
// meta-llama/Meta-Llama-3-8B-Instruct), with what they leave to defaults.
json smollm() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_act", "silu"},
          {"hidden_size", 576},
          {"intermediate_size", 1536},
          {"num_hidden_layers", 30},
          {"num_attention_heads", 9},
          {"num_key_value_heads", 3},
          {"vocab_size", 49152},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},
          {"rope_scaling", nullptr},
          {"max_position_embeddings", 2048},
          {"tie_word_embeddings", true},
          {"attention_bias", false},
          {"bos_token_id", 1},
          {"eos_token_id", 2},
          {"torch_dtype", "bfloat16"}};
}

json tiny_llama() {
  json config = smollm();
  config.update({{"hidden_size", 2048},
                 {"intermediate_size", 5632},
                 {"num_hidden_layers", 22},
                 {"num_attention_heads", 32},
                 {"num_key_value_heads", 4},
                 {"vocab_size", 32000},
                 {"tie_word_embeddings", false}});
  return config;
}

json llama3() {
  json config = smollm();
  config.update({{"hidden_size", 4096},
                 {"intermediate_size", 14336},
                 {"num_hidden_layers", 32},
                 {"num_attention_heads", 32},
                 {"num_key_value_heads", 8},
                 {"vocab_size", 128256},
                 {"rope_theta", 500000.0},
                 {"max_position_embeddings", 8192},
                 {"tie_word_embeddings", false},
                 {"eos_token_id", 128001}});
  return config;
}

int64_t elements_of_folder(const ModelConfig& model) {
  int64_t count = 0;
  for (const HfTensor& tensor : hf_layout(model)) count += elements_of(tensor.shape);
  return count;
}

TEST(HfConfig, PublishedModelsHaveTheirPublishedNumberOfParameters) {
  EXPECT_EQ(elements_of_folder(parse(smollm()).model), 134515008);
  EXPECT_EQ(elements_of_folder(parse(tiny_llama()).model), 1100048384);
  EXPECT_EQ(elements_of_folder(parse(llama3()).model), 8030261248);
}

TEST(HfConfig, EveryValueOfThePublishedFileIsTaken) {
  const ModelConfig model = parse(llama3()).model;
  EXPECT_TRUE(model.is_llama());
  EXPECT_EQ(model.head_width(), 128);
  EXPECT_EQ(model.key_value_heads(), 8);
  EXPECT_EQ(model.rope_theta, 500000.0);
  EXPECT_EQ(model.norm_epsilon, 1e-5);
  EXPECT_EQ(model.context, 8192);
  EXPECT_FALSE(model.tie_embeddings);
  EXPECT_TRUE(parse(smollm()).model.tie_embeddings);
}

TEST(HfConfig, TheTokensThatEndATextComeFromTheGenerationFileFirst) {
  EXPECT_EQ(parse(llama3()).stop_ids, std::vector<int64_t>{128001});
  EXPECT_EQ(parse(llama3(), {{"eos_token_id", {128001, 128009}}}).stop_ids, (std::vector<int64_t>{128001, 128009}));
  EXPECT_EQ(parse(llama3(), {{"eos_token_id", nullptr}}).stop_ids, std::vector<int64_t>{});
  json silent = llama3();
  silent.erase("eos_token_id");
  EXPECT_EQ(parse(silent).stop_ids, std::vector<int64_t>{2});  // LlamaConfig's default
  silent["eos_token_id"] = nullptr;
  EXPECT_EQ(parse(silent).stop_ids, std::vector<int64_t>{});
}

TEST(HfConfig, ScalingOfBothSpellingsIsTheSame) {
  const json values = {
      {"factor", 8.0}, {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0}, {"original_max_position_embeddings", 8192}};
  json older = llama3(), newer = llama3();
  older["rope_scaling"] = values;
  older["rope_scaling"]["type"] = "llama3";
  newer.erase("rope_theta");
  newer.erase("rope_scaling");
  newer["rope_parameters"] = values;
  newer["rope_parameters"].update({{"rope_type", "llama3"}, {"rope_theta", 500000.0}});
  for (const json& config : {older, newer}) {
    const ModelConfig model = parse(config).model;
    EXPECT_EQ(model.rope.kind, "llama3");
    EXPECT_EQ(model.rope.factor, 8.0);
    EXPECT_EQ(model.rope.high_frequency, 4.0);
    EXPECT_EQ(model.rope.original_context, 8192);
    EXPECT_EQ(model.rope_theta, 500000.0);
  }
}

TEST(HfConfig, WhatIsWrittenIsReadAsTheSameModel) {
  json scaled = llama3(), own_heads = smollm();
  scaled["rope_scaling"] = {{"rope_type", "yarn"},
                            {"factor", 4.0},
                            {"original_max_position_embeddings", 2048},
                            {"beta_fast", 24.0},
                            {"attention_factor", 1.25}};
  own_heads["head_dim"] = 48;
  for (const json& config : {smollm(), llama3(), scaled, own_heads}) {
    ModelConfig model = parse(config).model;
    ModelConfig again = parse_hf_config(hf_config_text(model, h5::Element::bfloat16, ""), "", "DIR").model;
    EXPECT_EQ(to_toml(model), to_toml(again));
  }
}

TEST(HfConfig, WhatTheFolderSaidBesidesIsKept) {
  json config = llama3();
  config["special"] = {{"some", "value"}};
  ModelConfig model = parse(config).model;
  model.context = 64;  // the length a run trained on
  const json written = json::parse(hf_config_text(model, h5::Element::float32, config.dump()));
  EXPECT_EQ(written["special"], config["special"]);
  EXPECT_EQ(written["eos_token_id"], 128001);
  EXPECT_EQ(written["max_position_embeddings"], 8192);
  EXPECT_EQ(written["torch_dtype"], "float32");
}

TEST(HfConfig, AModelThatIsNoLlamaIsNotWritten) {
  ModelConfig poc, streams = parse(smollm()).model;
  streams.residual = "mhc";
  EXPECT_TRUE(contains(thrown_message([&] { hf_config_text(poc, h5::Element::float32, ""); }),
                       "model.dialect: expected llama"));
  EXPECT_TRUE(
      contains(thrown_message([&] { hf_config_text(streams, h5::Element::float32, ""); }), "model.residual: expected"));
}

struct Wrong {
  const char* patch;  // merged into SmolLM's config.json
  const char* message;
};

class WrongConfig : public testing::TestWithParam<Wrong> {};

TEST_P(WrongConfig, IsRefusedByFileFieldAndWhatWasExpected) {
  json config = smollm();
  config.merge_patch(json::parse(GetParam().patch));
  const std::string message = refusal(config);
  EXPECT_EQ(message.find(GetParam().message), 0u) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(
    Fields, WrongConfig,
    testing::Values(
        Wrong{R"({"architectures": ["GPT2LMHeadModel"]})",
              "DIR/config.json: architectures: expected [\"LlamaForCausalLM\"], found"},
        Wrong{R"({"model_type": "qwen2"})", "DIR/config.json: model_type: expected \"llama\", found \"qwen2\""},
        Wrong{R"({"model_type": null})", "DIR/config.json: model_type: expected \"llama\", found nothing"},
        Wrong{R"({"hidden_act": "gelu"})", "DIR/config.json: hidden_act: expected \"silu\", found \"gelu\""},
        Wrong{R"({"attention_bias": true})", "DIR/config.json: attention_bias: expected false"},
        Wrong{R"({"mlp_bias": true})", "DIR/config.json: mlp_bias: expected false"},
        Wrong{R"({"quantization_config": {"load_in_4bit": true}})",
              "DIR/config.json: quantization_config.quant_method: expected \"bitsandbytes\""},
        Wrong{R"({"hidden_size": null})",
              "DIR/config.json: hidden_size: expected a whole number from 1 to 1048576, found nothing"},
        Wrong{R"({"hidden_size": 575})",
              "DIR/config.json: num_attention_heads: expected a divisor of hidden_size, 575, found 9"},
        Wrong{R"({"hidden_size": -576})", "DIR/config.json: hidden_size: expected a whole number from 1"},
        Wrong{R"({"num_hidden_layers": 2.5})",
              "DIR/config.json: num_hidden_layers: expected a whole number from 1 to 100000, found 2.5"},
        Wrong{R"({"num_hidden_layers": 99999999999999999999})",
              "DIR/config.json: num_hidden_layers: expected a whole number"},
        Wrong{R"({"num_key_value_heads": 2})",
              "DIR/config.json: num_key_value_heads: expected a divisor of num_attention_heads, 9, found 2"},
        Wrong{R"({"head_dim": 63})", "DIR/config.json: head_dim: expected an even width of a head, found 63"},
        Wrong{R"({"rms_norm_eps": "small"})",
              "DIR/config.json: rms_norm_eps: expected a number from 0, found \"small\""},
        Wrong{R"({"tie_word_embeddings": 1})", "DIR/config.json: tie_word_embeddings: expected true or false, found 1"},
        Wrong{R"({"partial_rotary_factor": 0.5})", "DIR/config.json: partial_rotary_factor: expected 1, found 0.5"},
        Wrong{R"({"rope_scaling": 3})", "DIR/config.json: rope_scaling: expected an object, found 3"},
        Wrong{R"({"rope_scaling": {"type": "dynamic", "factor": 2}})",
              "DIR/config.json: rope_scaling.type: expected default, linear, llama3 or yarn"},
        Wrong{R"({"rope_parameters": {"rope_type": "longrope"}})",
              "DIR/config.json: rope_parameters.rope_type: expected default, linear"},
        Wrong{R"({"rope_scaling": {"type": "linear"}})",
              "DIR/config.json: rope_scaling.factor: expected a number from 1, found nothing"},
        Wrong{R"({"rope_scaling": {"type": "linear", "factor": 0.5}})",
              "DIR/config.json: rope_scaling.factor: expected a number from 1, found 0.5"},
        Wrong{R"({"rope_scaling": {"rope_type": "llama3", "factor": 2, "low_freq_factor": 4, "high_freq_factor": 4}})",
              "DIR/config.json: rope_scaling.high_freq_factor: expected more than low_freq_factor, found 4"},
        Wrong{R"({"rope_scaling": {"rope_type": "yarn", "factor": 2, "truncate": false}})",
              "DIR/config.json: rope_scaling.truncate: expected true"},
        Wrong{R"({"eos_token_id": "two"})",
              "DIR/config.json: eos_token_id: expected a token id or a list of them, found \"two\""}));

TEST(HfConfig, TextThatIsNoObjectIsRefused) {
  const auto message = [](const std::string& text) {
    return thrown_message([&] { parse_hf_config(text, "", "DIR"); });
  };
  EXPECT_EQ(message("{"), "DIR/config.json: expected a JSON object, found text that is not valid JSON");
  EXPECT_EQ(message("[1]"), "DIR/config.json: expected a JSON object, found [1]");
  EXPECT_EQ(message(std::string(10000, '[')), "DIR/config.json: expected at most 32 levels of JSON");
}

}  // namespace
}  // namespace braid
