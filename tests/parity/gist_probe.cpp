// SPDX-License-Identifier: Apache-2.0
// Puts gists on a Hugging Face model folder with an adapter in peft's format and writes, for one batch, the loss, its
// gradients of vectors and adapters, and the gists themselves.
//   gist_probe --model DIR [--adapter DIR --rows gist|all] --inputs FILE --out FILE --segment S --overlap O --question
//   Q
//              [--repeat P --cue C] --weights a --weights b [--recompute] [--quantise single]
// FILE of --inputs has `vectors` [k, D] and `repeat` [1, D] float64, `tokens` and `targets` [B, n + Q + P] int64.
#include <iostream>

#include "base/error.h"
#include "cli/options.h"
#include "experiments/gist_loss.h"
#include "models/hf_config.h"
#include "models/hf_model.h"
#include "models/peft_adapter.h"
#include "models/peft_config.h"
#include "nn/precompiled.h"
#include "tensor_file.h"

namespace braid {
namespace {

void fill(Parameter& parameter, const SafetensorsFile& inputs, const char* name) {
  const SafeTensor* tensor = inputs.find(name);
  if (!tensor) throw Error(str(inputs.path(), ": no ", name));
  at::Tensor values = at::empty(tensor->shape, at::kDouble);
  std::memcpy(values.mutable_data_ptr(), inputs.data(*tensor), tensor->bytes());
  parameter.master.copy_(values);
}

Batch batch_of(const SafetensorsFile& inputs) {
  const at::Tensor tokens = test::read_ids(inputs, "tokens"), targets = test::read_ids(inputs, "targets");
  const auto list = [](const at::Tensor& x) {
    const int64_t* data = x.const_data_ptr<int64_t>();
    return std::vector<int64_t>(data, data + x.numel());
  };
  return {tokens.size(0),
          tokens.size(1),
          list(tokens),
          list(targets),
          {},
          (targets != ignored_target).sum().item<int64_t>()};
}

GistForm form_of(const cxxopts::ParseResult& parsed, int64_t length) {
  GistForm form;
  form.question_tokens = parsed["question"].as<int64_t>();
  form.repeat_tokens = parsed["repeat"].as<int64_t>();
  form.cue = parsed["cue"].as<int64_t>();
  const auto weights = parsed["weights"].as<std::vector<double>>();
  form.repeat_weight = weights.at(0);
  form.kl_weight = weights.at(1);
  form.segments = plan_segments(length - form.question_tokens - form.repeat_tokens, parsed["segment"].as<int64_t>(),
                                parsed["overlap"].as<int64_t>());
  return form;
}

std::unique_ptr<LoraModel> adapters_on(Transformer& model, const cxxopts::ParseResult& parsed) {
  const std::string folder = parsed["adapter"].as<std::string>();
  LoraConfig config = read_peft_config(folder, model.config());
  config.rows = parsed["rows"].as<std::string>();
  auto adapters = std::make_unique<LoraModel>(model, config, 0);
  adapters->take_base_weights();
  load_peft_weights(folder, adapters->parameters());
  return adapters;
}

void probe(const cxxopts::ParseResult& parsed) {
  HfConfig config = read_hf_config(parsed["model"].as<std::string>());
  if (parsed.count("quantise")) config.model.quantise = "nf4";
  config.model.double_quantise = false;
  Transformer model(config.model, Precision::fp64, at::kCPU, Weights::frozen);
  load_hf_model(HfFiles(parsed["model"].as<std::string>()), model);
  const auto adapters = adapters_on(model, parsed);
  const SafetensorsFile inputs(parsed["inputs"].as<std::string>());
  const Batch batch = batch_of(inputs);
  const GistForm form = form_of(parsed, batch.length);
  GistModel gists(model, GistSettings{inputs.find("vectors")->shape[0], adapters.get(), form.repeat_tokens > 0,
                                      parsed.count("recompute") > 0});
  fill(gists.parameters().named("gist.vectors"), inputs, "vectors");
  if (form.repeat_tokens > 0) fill(gists.parameters().named("gist.repeat"), inputs, "repeat");

  test::Named results;
  for (ParameterSet* set : {&gists.parameters(), &adapters->parameters()}) {
    set->zero_gradients();
    set->start_backward();
    for (Parameter& p : set->all()) {
      p.on_grad_ready = [&](Parameter& ready) { results.push_back({"ready." + ready.name, ready.gradient.clone()}); };
    }
  }
  LossTotals totals = make_loss_totals(at::kCPU);
  GistTerms terms = make_gist_terms(at::kCPU);
  const at::Tensor loss =
      gist_loss(gists, form, batch, 0, batch.samples, 1.0 / double(batch.target_count), totals, &terms);
  loss.backward();
  results.push_back({"loss", loss.reshape({1})});
  const at::Tensor means = (terms.values.narrow(0, 0, 2) / terms.values.narrow(0, 2, 2)).nan_to_num();
  const at::Tensor further = means[0] * form.repeat_weight + means[1] * form.kl_weight;
  results.push_back({"further", further.reshape({1})});
  results.push_back({"answers", totals.values.narrow(0, 0, 1) / double(batch.target_count)});
  for (ParameterSet* set : {&gists.parameters(), &adapters->parameters()}) {
    for (const Parameter& p : set->all()) results.push_back({p.name, p.gradient});
  }
  bool base = false;
  for (const Parameter& p : model.parameters().all()) base = base || p.gradient.defined();
  results.push_back({"base_gradients", at::full({1}, base ? 1.0 : 0.0)});
  test::write_tensors(parsed["out"].as<std::string>(), results);
}

}  // namespace
}  // namespace braid

int main(int argc, char** argv) {
  cxxopts::Options options("gist_probe");
  for (const char* name : {"model", "adapter", "inputs", "out", "quantise"}) {
    options.add_options()(name, "", cxxopts::value<std::string>());
  }
  for (const char* name : {"segment", "overlap", "question", "repeat", "cue"}) {
    options.add_options()(name, "", cxxopts::value<int64_t>()->default_value("0"));
  }
  options.add_options()("rows", "", cxxopts::value<std::string>()->default_value("gist"))(
      "weights", "", cxxopts::value<std::vector<double>>())("recompute", "");
  try {
    braid::probe(options.parse(argc, argv));
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "gist_probe: " << error.what() << "\n";
    return 1;
  }
}
