// SPDX-License-Identifier: Apache-2.0
// Writes one forward and backward pass of a configured model to an HDF5 file, so that a Python test can repeat it in
// PyTorch: /weights/<name>, /grads/<name>, /tokens and /targets [B, T], /logits [B, T, V], /loss.
//   model_probe --config FILE [--set k=v …] --out FILE.h5 [--dtype float64|float32|bfloat16] [--perturb DEVIATION]
//               [--batch B] [--packed]
// With [memory] its parameters are among them, and FILE.h5.memory is its folder. --packed: each sample is two texts,
// whose numbers are in /segments [B, T].
#include <iostream>

#include "base/philox.h"
#include "cli/options.h"
#include "experiments/run_config.h"
#include "models/memory_folder.h"
#include "nn/initialise.h"
#include "nn/precompiled.h"
#include "store/h5.h"

namespace braid {
namespace {

struct ProbeOptions {
  std::string config, out, dtype;
  std::vector<std::string> overrides;
  double perturb = 0;
  int64_t batch = 3;
  bool packed = false;
};

Precision precision_named(const std::string& dtype) {
  if (dtype == "float64") return Precision::fp64;
  return dtype == "bfloat16" ? Precision::bf16 : Precision::fp32;
}

// Noise on every weight: a fresh model has zero gradients where its streams are still equal.
void perturb(ParameterSet& set, double deviation) {
  for (Parameter& parameter : set.all()) {
    const RandomStream stream(99, RandomPurpose::task, parameter.name);
    at::Tensor noise = at::empty(parameter.shape, at::kFloat);
    stream.fill_normal(noise.mutable_data_ptr<float>(), 0, noise.numel(), 0.0, deviation);
    parameter.master.add_(noise);
  }
  set.refresh_compute();
}

at::Tensor random_ids(const ProbeOptions& options, const ModelConfig& model, const char* name) {
  const RandomStream stream(7, RandomPurpose::task, name);
  at::Tensor ids = at::empty({options.batch, model.context}, at::kLong);
  int64_t* out = ids.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < ids.numel(); ++i) out[i] = stream.below(i, model.vocabulary);
  return ids;
}

void store(hid_t file, const std::string& name, const at::Tensor& values) {
  const at::Tensor wide = values.detach().to(at::kDouble).contiguous();
  const std::vector<hsize_t> shape(wide.sizes().begin(), wide.sizes().end());
  const hid_t links = H5Pcreate(H5P_LINK_CREATE);
  H5Pset_create_intermediate_group(links, 1);
  const hid_t space = H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr);
  const hid_t set = H5Dcreate2(file, name.c_str(), H5T_NATIVE_DOUBLE, space, links, H5P_DEFAULT, H5P_DEFAULT);
  H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, wide.const_data_ptr<double>());
  H5Dclose(set);
  H5Sclose(space);
  H5Pclose(links);
}

// The first text of sample b has b + 2 tokens.
AttentionContext packed_texts(const at::Tensor& tokens) {
  const at::Tensor places = at::arange(tokens.size(1)).unsqueeze(0), ends = at::arange(tokens.size(0)).unsqueeze(1) + 2;
  AttentionContext context;
  context.segments = (places >= ends).to(at::kLong);
  context.position_ids = places - ends * context.segments;
  return context;
}

std::unique_ptr<HashMemory> memory_on(Transformer& model, const RunConfig& config) {
  if (!config.memory.enabled()) return nullptr;
  const NgramHash hash(config.memory, distinct_tokens(config.model.vocabulary), 5, at::kCPU);
  return std::make_unique<HashMemory>(model, config.memory, hash, 5);
}

void probe(const ProbeOptions& options) {
  ConfigDocument document = ConfigDocument::from_file(options.config);
  for (const std::string& assignment : options.overrides) document.override_with(assignment);
  const RunConfig config = read_run_config(document);
  Transformer model(config.model, precision_named(options.dtype), at::Device(at::kCPU));
  if (config.train.has_narrow_streams()) model.residual().store_streams_as_bf16();
  at::Generator generator = seeded_generator(config.train.seed);
  if (config.model.is_llama()) {
    initialise_llama(model, config.train.seed);
  } else {
    initialise_poc(model, generator);
  }
  const std::unique_ptr<HashMemory> memory = memory_on(model, config);
  std::vector<ParameterSet*> sets = {&model.parameters()};
  if (memory) sets.insert(sets.end(), {&memory->parameters(), &memory->table()});
  {
    const at::NoGradGuard no_gradient;
    for (ParameterSet* set : sets) {
      if (options.perturb > 0) perturb(*set, options.perturb);
    }
  }
  if (memory) write_memory_folder(options.out + ".memory", config.model, *memory);
  const at::Tensor tokens = random_ids(options, config.model, "tokens"), targets = random_ids(options, config.model, "targets");
  const hid_t file = H5Fcreate(options.out.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  store(file, "tokens", tokens);
  store(file, "targets", targets);
  AttentionContext context;
  if (options.packed) {
    context = packed_texts(tokens);
    store(file, "segments", context.segments);
  }
  for (ParameterSet* set : sets) {
    for (Parameter& parameter : set->all()) store(file, "weights/" + parameter.name, parameter.master);
  }

  LossTotals totals = make_loss_totals(model.device());
  model.begin_step();
  {
    const at::NoGradGuard no_gradient;
    store(file, "logits", model.logits(tokens, context));
  }
  for (ParameterSet* set : sets) set->start_backward();
  if (memory) memory->fetch(tokens_of(tokens, context.segments));
  const at::Tensor loss = model.loss(tokens, targets, 1.0 / double(tokens.numel()), totals, context);
  loss.backward();
  model.end_backward();
  if (memory) memory->return_gradients();
  store(file, "loss", loss);
  for (ParameterSet* set : sets) {
    for (Parameter& parameter : set->all()) store(file, "grads/" + parameter.name, parameter.gradient);
  }
  H5Fclose(file);
}

ProbeOptions parse(int argc, char** argv) {
  cxxopts::Options options("model_probe");
  options.add_options()("config", "", cxxopts::value<std::string>())("out", "", cxxopts::value<std::string>())(
      "set", "", cxxopts::value<std::vector<std::string>>())("dtype", "", cxxopts::value<std::string>()->default_value("float64"))(
      "perturb", "", cxxopts::value<double>()->default_value("0"))("batch", "", cxxopts::value<int64_t>()->default_value("3"))(
      "packed", "");
  const auto parsed = options.parse(argc, argv);
  ProbeOptions given;
  given.config = parsed["config"].as<std::string>();
  given.out = parsed["out"].as<std::string>();
  given.dtype = parsed["dtype"].as<std::string>();
  if (parsed.count("set")) given.overrides = parsed["set"].as<std::vector<std::string>>();
  given.perturb = parsed["perturb"].as<double>();
  given.batch = parsed["batch"].as<int64_t>();
  given.packed = parsed.count("packed") > 0;
  return given;
}

}  // namespace
}  // namespace braid

int main(int argc, char** argv) {
  try {
    braid::probe(braid::parse(argc, argv));
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "model_probe: " << error.what() << "\n";
    return 1;
  }
}
