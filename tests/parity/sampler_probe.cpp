// SPDX-License-Identifier: Apache-2.0
// What Braid makes of logits, for Python to compare: sampler_probe COMMAND IN OUT, where COMMAND is
//   filter    logits [R, V], draws [R, 5] float64 (kernels/draw_tokens.h) → chances [R, V] int64
//   penalise  logits [R, V], penalties [R, 3] float64 (repetition, presence, frequency), prompt [R, P] and answer [R,
//   A]
//             int64 → penalised [R, V]
#include <iostream>

#include "../kernels/tensor_files.h"
#include "infer/sampler.h"
#include "kernels/draw_tokens.h"
#include "nn/precompiled.h"

namespace braid {
namespace {

using namespace braid::test;

at::Tensor tensor_of(const Array& array, at::ScalarType type) {
  return at::from_blob(const_cast<std::byte*>(array.bytes.data()), array.shape, at::TensorOptions().dtype(type));
}

Arrays filter(const Arrays& in) {
  const Array& logits = in.at("logits");
  const at::Tensor likeliest = tensor_of(logits, at::kFloat).argmax(-1);
  Arrays out;
  Array& chances = out["chances"] = zeros(h5::Element::int64, logits.shape);
  at::Tensor ids = likeliest.clone();
  kernels::draw_tokens({}, logits.shape[0], logits.shape[1], logits.as<float>(),
                       in.at("draws").as<kernels::TokenDraw>(), ids.mutable_data_ptr<int64_t>(),
                       chances.as<uint64_t>());
  return out;
}

// The answer's tokens are forced, one a step.
Arrays penalise(const Arrays& in) {
  const Array& logits = in.at("logits");
  const int64_t rows = logits.shape[0], vocabulary = logits.shape[1];
  const int64_t prompt = in.at("prompt").shape[1], steps = in.at("answer").shape[1];
  Sampler sampler(rows, vocabulary, at::kCPU);
  std::vector<int64_t> slots;
  for (int64_t r = 0; r < rows; ++r) {
    const double* penalty = in.at("penalties").as<double>() + 3 * r;
    SamplingOptions options;
    options.repetition_penalty = penalty[0], options.presence_penalty = penalty[1],
    options.frequency_penalty = penalty[2];
    sampler.begin(r, options, {in.at("prompt").as<int64_t>() + r * prompt, size_t(prompt)});
    slots.push_back(r);
  }
  const at::Tensor answer = tensor_of(in.at("answer"), at::kLong);
  for (int64_t s = 0; s < steps; ++s) {
    sampler.sample(at::zeros({rows, vocabulary}).scatter(1, answer.slice(1, s, s + 1), 1e6), slots);
  }
  const at::Tensor found = sampler.penalised(tensor_of(logits, at::kFloat), slots).contiguous();
  Arrays out;
  Array& penalised = out["penalised"] = zeros(h5::Element::float32, logits.shape);
  std::memcpy(penalised.bytes.data(), found.const_data_ptr(), penalised.bytes.size());
  return out;
}

}  // namespace
}  // namespace braid

int main(int argc, char** argv) {
  try {
    if (argc != 4) throw braid::Error("expected COMMAND IN OUT");
    const std::string command = argv[1];
    const braid::test::Arrays in = braid::test::read_arrays(argv[2]);
    braid::test::write_arrays(argv[3], command == "filter" ? braid::filter(in) : braid::penalise(in));
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "sampler_probe: " << error.what() << "\n";
    return 1;
  }
}
