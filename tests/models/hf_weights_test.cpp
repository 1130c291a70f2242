// SPDX-License-Identifier: Apache-2.0
#include "models/hf_weights.h"

#include <gtest/gtest.h>

#include "../store/temp_folder.h"
#include "../store/thrown.h"
#include "folder.h"
#include "nn/precompiled.h"

namespace braid {
namespace {

using test::FileTensor;
using test::random_tensors;
using test::small_llama;

at::Tensor values_of(const FileTensor& tensor) {
  std::vector<double> wide(static_cast<size_t>(elements_of(tensor.header.shape)));
  convert_elements(tensor.header.element, tensor.bytes.data(), h5::Element::float64,
                   reinterpret_cast<std::byte*>(wide.data()), wide.size());
  return at::tensor(at::ArrayRef<double>(wide), at::kDouble).view(tensor.header.shape);
}

class Loading : public testing::Test {
 protected:
  void write() { test::write_weights(folder / "model.safetensors", tensors); }
  void load(Transformer& model, const HfLoadOptions& options = {}) {
    load_hf_weights(HfFiles(folder.path()), model.config(), model.parameters(), options);
  }
  at::Tensor stored(const std::string& name) { return values_of(test::named(tensors, "model." + name + ".weight")); }

  TempFolder folder;
  std::vector<FileTensor> tensors = random_tensors(small_llama(), h5::Element::float32);
};

TEST_F(Loading, PutsEveryTensorIntoItsRows) {
  write();
  Transformer model(small_llama(), Precision::fp64, at::kCPU);
  load(model);
  const auto weight = [&](const char* name) { return model.parameters().named(name).master; };
  const std::string attention = "layers.1.self_attn.", mlp = "layers.1.mlp.";
  EXPECT_TRUE(
      weight("blocks.1.attn.in.weight")
          .equal(at::cat({stored(attention + "q_proj"), stored(attention + "k_proj"), stored(attention + "v_proj")})));
  EXPECT_TRUE(weight("blocks.1.ff1.weight").equal(at::cat({stored(mlp + "gate_proj"), stored(mlp + "up_proj")})));
  EXPECT_TRUE(weight("blocks.0.ln2.weight").equal(stored("layers.0.post_attention_layernorm")));
  EXPECT_TRUE(weight("embedding.weight").equal(stored("embed_tokens")));
  for (const Parameter& parameter : model.parameters().all()) {
    EXPECT_GT(parameter.master.abs().max().item<double>(), 0) << parameter.name << " was left out";
  }
}

TEST_F(Loading, ConvertsEveryTypeToEveryPrecision) {
  for (const h5::Element element :
       {h5::Element::float64, h5::Element::float32, h5::Element::bfloat16, h5::Element::float16}) {
    tensors = random_tensors(small_llama(), element);
    write();
    for (const Precision precision : {Precision::fp64, Precision::fp32, Precision::bf16}) {
      Transformer model(small_llama(), precision, at::kCPU);
      load(model);
      const Parameter& out = model.parameters().named("blocks.0.attn.out.weight");
      const at::Tensor expected = stored("layers.0.self_attn.o_proj").to(master_type(precision));
      EXPECT_TRUE(out.master.equal(expected)) << h5::element_name(element);
      EXPECT_TRUE(out.compute.equal(expected.to(compute_type(precision)))) << h5::element_name(element);
    }
  }
}

TEST_F(Loading, ReadsElementsThatAreNotAligned) {
  for (FileTensor& t : tensors) {
    const bool first = &t == &tensors.front();
    t = test::tensor_of(t.header.name, first ? h5::Element::bfloat16 : h5::Element::float64, t.header.shape,
                        std::vector<double>(t.bytes.size() / 4, 0.375));
  }
  tensors.front().header.name =
      "model.layers.0.self_attn.rotary_emb.inv_freq";  // an odd number of two bytes comes first
  tensors.front().header.shape = {1};
  tensors.front().bytes.resize(2);
  tensors.push_back(random_tensors(small_llama(), h5::Element::float32).front());
  write();
  Transformer model(small_llama(), Precision::fp32, at::kCPU);
  load(model);
  EXPECT_TRUE(model.parameters().named("blocks.1.ff2.weight").master.eq(0.375).all().item<bool>());
  EXPECT_TRUE(model.parameters().named("embedding.weight").master.equal(stored("embed_tokens").to(at::kFloat)));
}

TEST_F(Loading, ReadsOnlyTheBoxThatAParameterHolds) {
  test::named(tensors, "model.layers.0.self_attn.q_proj.weight").bytes[3] =
      std::byte{0x7F};  // element [0, 0]: huge or NaN
  test::named(tensors, "model.layers.0.self_attn.q_proj.weight").bytes[2] = std::byte{0xC0};
  write();
  Transformer whole(small_llama(), Precision::fp32, at::kCPU);
  load(whole, {.check_finite = false});
  const at::Tensor packed = whole.parameters().named("blocks.0.attn.in.weight").master;  // 12 + 4 + 4 rows of 12
  ASSERT_TRUE(packed[0][0].isnan().item<bool>());
  for (const Box& box : {Box{{5, 0}, {9, 12}}, Box{{13, 3}, {6, 4}}, Box{{1, 11}, {19, 1}}, Box{{16, 2}, {1, 9}},
                         Box{{0, 1}, {20, 11}}}) {
    ParameterSet set;
    for (const Parameter& p : whole.parameters().all()) set.add(p.name, p.shape);
    Parameter& part = set.named("blocks.0.attn.in.weight");
    part.slice = box;
    set.allocate(Precision::fp32, at::kCPU);
    load_hf_weights(HfFiles(folder.path()), small_llama(), set);  // the NaN lies outside
    EXPECT_TRUE(
        part.master.equal(packed.narrow(0, box.origin[0], box.shape[0]).narrow(1, box.origin[1], box.shape[1])));
  }
  EXPECT_TRUE(contains(thrown_message([&] { load(whole); }),
                       "q_proj.weight: expected finite weights, found NaN or infinity at [0, 0]"));
}

TEST_F(Loading, FillsWhicheverCopyThereIs) {
  write();
  Transformer model(small_llama(), Precision::bf16, at::kCPU);
  Parameter& frozen = model.parameters().named("blocks.0.ff2.weight");
  frozen.master = at::Tensor();
  load(model);
  EXPECT_TRUE(frozen.compute.equal(stored("layers.0.mlp.down_proj").to(at::kFloat).to(at::kBFloat16)));
  frozen.compute = at::Tensor();
  EXPECT_TRUE(contains(thrown_message([&] { load(model); }), "blocks.0.ff2.weight has no room"));
}

}  // namespace
}  // namespace braid
