// SPDX-License-Identifier: Apache-2.0
// Loads a Hugging Face model folder and a folder in peft's format and writes what Braid computes with them to a
// safetensors file: `logits` [B, T, V], `off` with the adapter switched off, `merged` with it merged, `unmerged` after
// that, `loss`, and the loss's gradient of each adapter tensor under its name.
//   adapter_probe --model DIR --adapter DIR --ids FILE --out FILE [--dtype float32|float64] [--write DIR]
// FILE of --ids has `ids` and `targets` [B, T] int64. --write saves the adapter again.
#include <iostream>

#include "base/error.h"
#include "cli/options.h"
#include "models/hf_config.h"
#include "models/hf_model.h"
#include "models/peft_adapter.h"
#include "models/peft_config.h"
#include "nn/lora_model.h"
#include "nn/precompiled.h"
#include "tensor_file.h"

namespace braid {
namespace {

using test::Named;
using test::read_ids;

at::Tensor logits_of(Transformer& model, const at::Tensor& ids) {
  const at::NoGradGuard no_gradient;
  return model.logits(ids).clone();
}

at::Tensor backward(Transformer& model, LoraModel& lora, const at::Tensor& ids, const at::Tensor& targets) {
  LossTotals totals = make_loss_totals(at::kCPU);
  model.begin_step();
  lora.parameters().zero_gradients();
  lora.parameters().start_backward();
  const int64_t count = (targets != -100).sum().item<int64_t>();
  model.loss(ids, targets, 1.0 / double(count), totals).backward();
  return totals.values[LossTotals::loss] / double(count);
}

void probe(const cxxopts::ParseResult& parsed) {
  const std::string folder = parsed["model"].as<std::string>(), adapter = parsed["adapter"].as<std::string>();
  const Precision precision = parsed["dtype"].as<std::string>() == "float64" ? Precision::fp64 : Precision::fp32;
  const HfConfig config = read_hf_config(folder);
  Transformer model(config.model, precision, at::kCPU, Weights::frozen);
  load_hf_model(HfFiles(folder), model);
  LoraConfig lora_config = read_peft_config(adapter, config.model);
  lora_config.dropout = 0;
  LoraModel lora(model, lora_config, 0);
  lora.take_base_weights();
  load_peft_weights(adapter, lora.parameters());
  const SafetensorsFile inputs(parsed["ids"].as<std::string>());
  const at::Tensor ids = read_ids(inputs, "ids"), targets = read_ids(inputs, "targets");

  Named results = {{"logits", logits_of(model, ids)}, {"loss", backward(model, lora, ids, targets).reshape({1})}};
  for (const Parameter& parameter : lora.parameters().all()) results.push_back({parameter.name, parameter.gradient.clone()});
  lora.set_enabled(false);
  results.push_back({"off", logits_of(model, ids)});
  lora.set_enabled(true);
  if (parsed.count("write")) write_peft_adapter(parsed["write"].as<std::string>(), "", config.model, lora_config, lora.parameters());
  if (lora_config.saved_modules.empty() && !config.model.is_quantised()) {
    lora.merge();
    results.push_back({"merged", logits_of(model, ids)});
    lora.unmerge();
    results.push_back({"unmerged", logits_of(model, ids)});
  }
  test::write_tensors(parsed["out"].as<std::string>(), results);
}

}  // namespace
}  // namespace braid

int main(int argc, char** argv) {
  cxxopts::Options options("adapter_probe");
  for (const char* name : {"model", "adapter", "ids", "out", "write"}) options.add_options()(name, "", cxxopts::value<std::string>());
  options.add_options()("dtype", "", cxxopts::value<std::string>()->default_value("float32"));
  try {
    braid::probe(options.parse(argc, argv));
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "adapter_probe: " << error.what() << "\n";
    return 1;
  }
}
