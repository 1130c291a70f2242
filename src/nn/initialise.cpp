// SPDX-License-Identifier: Apache-2.0
#include "nn/initialise.h"

#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>

#include "base/philox.h"
#include "nn/connection_start.h"
#include "nn/precompiled.h"

namespace braid {

at::Generator seeded_generator(int64_t seed) {
  return at::detail::createCPUGenerator(static_cast<uint64_t>(seed));
}

namespace {

// Draws on the CPU in fp32, as PyTorch's modules do before a model is moved, then into the parameter.
class PocInitialiser {
 public:
  // What is drawn has the shapes of `whole`, and goes to parameters of the same name in `set`, if there are.
  PocInitialiser(ParameterSet& set, ParameterSet& whole, at::Generator& generator)
      : set_(set), whole_(whole), generator_(generator) {}

  void normal(const std::string& name, double scale) {
    store(name, at::empty(shape(name), at::kFloat).normal_(0.0, 1.0, generator_) * scale);
  }
  void uniform(const std::string& name, double bound) { store(name, drawn(shape(name), bound)); }
  void constant(const std::string& name, double value) {
    if (Parameter* parameter = find(name)) parameter->master.fill_(value);
  }
  // torch.nn.Linear's default for weight and bias: kaiming_uniform(a = sqrt(5)), written as torch writes it so that the
  // bound is the same double.
  static double linear_weight_bound(int64_t fan_in) {
    const double slope = std::sqrt(5.0);
    const double gain = std::sqrt(2.0 / (1.0 + slope * slope));
    return std::sqrt(3.0) * (gain / std::sqrt(double(fan_in)));
  }
  static double linear_bias_bound(int64_t fan_in) { return 1.0 / std::sqrt(double(fan_in)); }
  static double xavier_bound(int64_t fan_in, int64_t fan_out) {
    return std::sqrt(3.0) * std::sqrt(2.0 / double(fan_in + fan_out));
  }

  at::Tensor drawn(const std::vector<int64_t>& shape, double bound) {
    return at::empty(shape, at::kFloat).uniform_(-bound, bound, generator_);
  }
  void store(const std::string& name, const at::Tensor& values) {
    if (Parameter* parameter = find(name)) take_values(*parameter, values);
  }
  const std::vector<int64_t>& shape(const std::string& name) { return whole_.named(name).shape; }

 private:
  Parameter* find(const std::string& name) {
    const auto found = std::find_if(set_.all().begin(), set_.all().end(), [&](const Parameter& p) { return p.name == name; });
    return found == set_.all().end() ? nullptr : &*found;
  }

  ParameterSet &set_, &whole_;
  at::Generator& generator_;
};

// torch.nn.MultiheadAttention: output projection first (its bias is drawn, then overwritten by 0), packed Xavier QKV.
void packed_attention(PocInitialiser& init, const std::string& name, int64_t width) {
  init.uniform(name + ".out.weight", PocInitialiser::linear_weight_bound(width));
  init.uniform(name + ".out.bias", PocInitialiser::linear_bias_bound(width));
  init.constant(name + ".out.bias", 0.0);
  init.uniform(name + ".in.weight", PocInitialiser::xavier_bound(width, 3 * width));
  init.constant(name + ".in.bias", 0.0);
}

// Four torch.nn.Linear layers: query, key, value, output.
void separate_attention(PocInitialiser& init, const std::string& name, int64_t width) {
  std::vector<at::Tensor> weights, biases;
  for (int part = 0; part < 3; ++part) {
    weights.push_back(init.drawn({width, width}, PocInitialiser::linear_weight_bound(width)));
    biases.push_back(init.drawn({width}, PocInitialiser::linear_bias_bound(width)));
  }
  init.store(name + ".in.weight", at::cat(weights));
  init.store(name + ".in.bias", at::cat(biases));
  init.uniform(name + ".out.weight", PocInitialiser::linear_weight_bound(width));
  init.uniform(name + ".out.bias", PocInitialiser::linear_bias_bound(width));
}

void linear_layer(PocInitialiser& init, const std::string& name, int64_t fan_in) {
  init.uniform(name + ".weight", PocInitialiser::linear_weight_bound(fan_in));
  init.uniform(name + ".bias", PocInitialiser::linear_bias_bound(fan_in));
}

void unit_norm(PocInitialiser& init, const std::string& name) { init.constant(name + ".weight", 1.0); }

void poc_block(PocInitialiser& init, const std::string& name, const ModelConfig& config) {
  const std::string& kind = config.attention_start == "own" ? config.attention : config.attention_start;
  const bool packed = kind == "standard";
  (packed ? packed_attention : separate_attention)(init, name + ".attn", config.width);
  linear_layer(init, name + ".ff1", config.width);
  linear_layer(init, name + ".ff2", init.shape(name + ".ff2.weight")[1]);
  unit_norm(init, name + ".ln1");
  unit_norm(init, name + ".ln2");
}

std::string block_name(int64_t layer) { return "blocks." + std::to_string(layer); }

void draw_poc(Transformer& model, ParameterSet& whole, at::Generator& generator) {
  const at::NoGradGuard no_gradient;
  const ModelConfig& config = model.config();
  ParameterSet& set = model.parameters();
  PocInitialiser init(set, whole, generator);
  init.normal("embedding.weight", 1.0);
  init.normal("positions", 0.01);
  for (int64_t layer = 0; layer < config.layers; ++layer) poc_block(init, block_name(layer), config);
  if (!config.tie_embeddings) {
    init.uniform("head.weight", PocInitialiser::linear_weight_bound(config.width));
  }
  unit_norm(init, "ln_f");
  if (config.has_streams()) start_connections(set, config, static_cast<int64_t>(generator.current_seed()));
  set.refresh_compute();
}

}  // namespace

void initialise_poc(Transformer& model, at::Generator& generator) { draw_poc(model, model.parameters(), generator); }

void initialise_poc(Transformer& model, at::Generator& generator, const ModelConfig& whole) {
  Transformer shapes(whole, Precision::fp32, at::kMeta);
  draw_poc(model, shapes.parameters(), generator);
}

namespace {

// draw(out, element, count): values of elements [element, element + count) of a global tensor. Leading dimensions are
// flattened to rows; of them only the first may be cut.
void fill_rows(Parameter& parameter, const std::function<void(float*, int64_t, int64_t)>& draw) {
  const int64_t global_width = parameter.shape.back(), width = parameter.slice.shape.back();
  at::Tensor values = at::empty(parameter.slice.shape, at::kFloat);
  float* out = values.mutable_data_ptr<float>();
  for (const Box& box : parameter.boxes()) {
    const bool vector = box.shape.size() == 1;
    const int64_t each = vector ? 1 : c10::multiply_integers(box.shape.begin() + 1, box.shape.end() - 1);
    const int64_t first_row = vector ? 0 : box.origin.front() * each, rows = vector ? 1 : box.shape.front() * each;
    for (int64_t row = first_row; row < first_row + rows; ++row, out += width) {
      draw(out, row * global_width + box.origin.back(), width);
    }
  }
  parameter.master.copy_(values);
}

}  // namespace

void fill_normal(Parameter& parameter, int64_t seed, double deviation) {
  const RandomStream stream(static_cast<uint64_t>(seed), RandomPurpose::initialise, parameter.name);
  fill_rows(parameter, [&](float* out, int64_t element, int64_t count) {
    stream.fill_normal(out, element, count, 0.0, deviation);
  });
}

void fill_uniform(Parameter& parameter, uint64_t seed, double bound) {
  const RandomStream stream(seed, RandomPurpose::initialise, parameter.name);
  fill_rows(parameter, [&](float* out, int64_t element, int64_t count) {
    stream.fill_uniform(out, static_cast<uint64_t>(element), static_cast<uint64_t>(count), -bound, bound);
  });
}

namespace {

bool writes_residual(const std::string& name) {
  return name.ends_with(".attn.out.weight") || name.ends_with(".ff2.weight");
}

// Matrices with the deviation that `of` says, norms 1, mixing logits as ever.
void initialise_normal(Transformer& model, int64_t seed, const std::function<double(const Parameter&)>& of) {
  const at::NoGradGuard no_gradient;
  for (Parameter& parameter : model.parameters().all()) {
    if (parameter.name.starts_with("mix.")) continue;
    if (parameter.shape.size() == 1) {
      parameter.master.fill_(1.0);
    } else {
      fill_normal(parameter, seed, of(parameter));
    }
  }
  if (model.config().has_streams()) start_connections(model.parameters(), model.config(), seed);
  model.parameters().refresh_compute();
}

}  // namespace

void initialise_llama(Transformer& model, int64_t seed) {
  const double deviation = 0.02, residual_deviation = deviation / std::sqrt(2.0 * double(model.config().layers));
  initialise_normal(model, seed, [&](const Parameter& parameter) {
    return writes_residual(parameter.name) ? residual_deviation : deviation;
  });
}

void initialise_fan_in(Transformer& model, int64_t seed) {
  const double share = 1 / std::sqrt(2.0 * double(model.config().layers));
  initialise_normal(model, seed, [&](const Parameter& parameter) {
    if (parameter.name == "embedding.weight") return 1.0;
    return (writes_residual(parameter.name) ? share : 1.0) / std::sqrt(double(parameter.shape[1]));
  });
}

}  // namespace braid
