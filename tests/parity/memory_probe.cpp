// SPDX-License-Identifier: Apache-2.0
// Loads a Hugging Face model folder and a hash memory's folder and writes what Braid computes with them to a
// safetensors file: `logits` [B, T, V], `off` without the memory, `loss`, and the loss's gradient of each parameter
// under its name.
//   memory_probe --model DIR --memory DIR --ids FILE --out FILE [--write DIR]
// FILE of --ids has `ids`, `targets` and `segments` [B, T] int64. --write saves the memory again. Numbers are in
// float64.
#include <iostream>

#include "base/error.h"
#include "cli/options.h"
#include "models/hf_config.h"
#include "models/hf_weights.h"
#include "models/memory_folder.h"
#include "nn/precompiled.h"
#include "tensor_file.h"

namespace braid {
namespace {

using test::Named;
using test::read_ids;

at::Tensor logits_of(Transformer& model, const at::Tensor& ids, const AttentionContext& context) {
  const at::NoGradGuard no_gradient;
  return model.logits(ids, context).clone();
}

at::Tensor backward(Transformer& model, HashMemory& memory, const at::Tensor& ids, const at::Tensor& targets,
                    const AttentionContext& context) {
  LossTotals totals = make_loss_totals(at::kCPU);
  model.begin_step();
  for (ParameterSet* set : {&memory.parameters(), &memory.table()}) set->zero_gradients();
  memory.fetch(tokens_of(ids, context.segments));
  memory.parameters().start_backward();
  const int64_t count = (targets != -100).sum().item<int64_t>();
  model.loss(ids, targets, 1.0 / double(count), totals, context).backward();
  memory.return_gradients();
  return totals.values[LossTotals::loss] / double(count);
}

void probe(const cxxopts::ParseResult& parsed) {
  const std::string folder = parsed["model"].as<std::string>();
  const HfConfig config = read_hf_config(folder);
  Transformer model(config.model, Precision::fp64, at::kCPU, Weights::frozen);
  load_hf_weights(HfFiles(folder), config.model, model.parameters());
  const std::unique_ptr<HashMemory> memory = load_memory_folder(parsed["memory"].as<std::string>(), model);
  const SafetensorsFile inputs(parsed["ids"].as<std::string>());
  const at::Tensor ids = read_ids(inputs, "ids"), targets = read_ids(inputs, "targets");
  AttentionContext context;
  context.segments = read_ids(inputs, "segments");

  Named results = {{"logits", logits_of(model, ids, context)},
                   {"loss", backward(model, *memory, ids, targets, context).reshape({1})}};
  for (ParameterSet* set : {&memory->parameters(), &memory->table()}) {
    for (const Parameter& parameter : set->all()) results.push_back({parameter.name, parameter.gradient.clone()});
  }
  if (parsed.count("write")) write_memory_folder(parsed["write"].as<std::string>(), config.model, *memory);
  memory->set_enabled(false);
  results.push_back({"off", logits_of(model, ids, context)});
  test::write_tensors(parsed["out"].as<std::string>(), results);
}

}  // namespace
}  // namespace braid

int main(int argc, char** argv) {
  cxxopts::Options options("memory_probe");
  for (const char* name : {"model", "memory", "ids", "out", "write"})
    options.add_options()(name, "", cxxopts::value<std::string>());
  try {
    braid::probe(options.parse(argc, argv));
    return 0;
  } catch (const braid::UsageError& error) {
    std::cerr << error.what() << "\n";
    return 2;
  } catch (const std::exception& error) {
    std::cerr << "memory_probe: " << error.what() << "\n";
    return 1;
  }
}
