// SPDX-License-Identifier: Apache-2.0
// New tokens a second of the engine with 1, 2, 4, … streams at once: engine_bench [LAYERS WIDTH PROMPT NEW [bf16]].
// Weights are random, the device is a GPU where there is one. Each number is the best of three runs.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include "base/clock.h"
#include "infer/engine.h"
#include "nn/precompiled.h"
#include "nn/transformer.h"

namespace {

using namespace braid;

struct Shape {
  int64_t layers = 8, width = 512, prompt = 32, tokens = 48;
};

ModelConfig config_of(const Shape& shape) {
  ModelConfig config;
  config.dialect = "llama";
  config.layers = shape.layers;
  config.width = shape.width;
  config.heads = shape.width / 64;
  config.mlp_width = shape.width * 8 / 3 / 64 * 64;
  config.vocabulary = 32000;
  config.context = shape.prompt + shape.tokens;
  return config;
}

// Seconds from the last stream's first token to the end, when all streams answer.
double decode_seconds(Transformer& model, const Shape& shape, int64_t streams) {
  EngineLimits limits;
  limits.running = streams;
  limits.share_prefixes = false;
  limits.step_tokens = streams * shape.prompt;
  Engine engine(model, nullptr, limits);
  for (int64_t s = 0; s < streams; ++s) {
    GenerationRequest request;
    request.prompt.assign(static_cast<size_t>(shape.prompt), 1 + s);
    request.max_tokens = shape.tokens;
    engine.submit(request, [](RequestProgress) {});
  }
  engine.step();
  const Stopwatch watch;
  while (engine.step()) {
  }
  return watch.seconds();
}

}  // namespace

int main(int argc, char** argv) {
  Shape shape;
  int64_t* const numbers[] = {&shape.layers, &shape.width, &shape.prompt, &shape.tokens};
  for (int i = 1; i < argc && i <= 4; ++i) *numbers[i - 1] = std::atoll(argv[i]);
  const bool narrow = argc > 5 && std::strcmp(argv[5], "bf16") == 0;
  const at::NoGradGuard no_gradient;
  const at::Device device = at::hasCUDA() ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  Transformer model(config_of(shape), narrow ? Precision::bf16 : Precision::fp32, device, Weights::frozen);
  int64_t parameters = 0;
  for (Parameter& parameter : model.parameters().all()) {
    parameter.master.normal_(0.0, 0.02);
    parameters += parameter.elements();
  }
  model.parameters().refresh_compute();
  std::cout << parameters / 1000000 << " M parameters, " << (narrow ? "bf16" : "fp32") << ", " << device.str() << ", "
            << at::get_num_threads() << " threads, prompts of " << shape.prompt << ", " << shape.tokens
            << " new tokens\n";
  double of_one = 0;
  for (int64_t streams = 1; streams <= 16; streams *= 2) {
    double seconds = decode_seconds(model, shape, streams);
    for (int run = 0; run < 2; ++run) seconds = std::min(seconds, decode_seconds(model, shape, streams));
    const double rate = double(streams * (shape.tokens - 1)) / seconds;
    if (streams == 1) of_one = rate;
    std::printf("%2lld streams: %8.1f tokens/s, %5.2f times those of one\n", static_cast<long long>(streams), rate,
                rate / of_one);
  }
}
